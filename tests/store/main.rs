//! What must survive does: the journal on a disk that loses, tears, fails and freezes, and on the disk there is.

mod books;
mod disk;
mod faults;
mod flips;
mod house;
mod reopening;
