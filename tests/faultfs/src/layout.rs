//! Where things are in the control file, which tests write and the library maps. Both sides include this file.
//!
//! All are 64-bit words in the machine's order, at offsets that are multiples of 8. A word is written by one side only, except
//! for the counters, which a test may set to 0.

/// Bytes of the file.
pub const BYTES: u64 = 4_096;

/// Times that the library was loaded, written by the library.
pub const LOADED: u64 = 0;
/// What is added to the wall clock, in milliseconds: an `i64`.
pub const CLOCK_MS: u64 = 8;
/// 1 + the slot of the fault that is set, or 0: a single byte's worth, so that no reader sees half of it.
pub const ACTIVE: u64 = 16;
/// Operations seen: of operation `o` on a file of kind `f` at `SEEN + 8 * (o * FILE_KINDS + f)`.
pub const SEEN: u64 = 64;
/// The faults: a new one takes another slot, so that a thread which is late still reads the old one, whole.
pub const SLOTS: u64 = 512;
/// Bytes of one slot.
pub const SLOT_BYTES: u64 = 128;
/// How many there are.
pub const SLOT_COUNT: u64 = 16;

/// In a slot: the operation that is meant, or [`ANY`].
pub const OPERATION: u64 = 0;
/// In a slot: the kind of file that is meant, or [`ANY`].
pub const FILE_KIND: u64 = 8;
/// In a slot: which of those that match fails, from 1.
pub const NUMBER: u64 = 16;
/// In a slot: 1 if all from there on fail, 0 if that one does.
pub const GOES_ON: u64 = 24;
/// In a slot: what happens, a `MODE_`.
pub const MODE: u64 = 32;
/// In a slot: the error's number, the bytes that are kept, or milliseconds, as the mode says.
pub const PARAMETER: u64 = 40;
/// In a slot: 1 lets go on what hangs.
pub const RELEASED: u64 = 48;
/// In a slot: operations that matched since it was set, written by the library.
pub const MATCHED: u64 = 56;
/// In a slot: those that the fault has met, written by the library.
pub const FIRED: u64 = 64;
/// In a slot: the kind of file that it met last, written by the library.
pub const FIRED_KIND: u64 = 72;

/// Every operation, every kind of file.
pub const ANY: u64 = 255;

/// `write`, `writev`, `pwrite` and `pwritev`.
pub const WRITE: u64 = 0;
/// `fsync` and `fdatasync`, of directories too.
pub const SYNC: u64 = 1;
/// `ftruncate` and `posix_fallocate`.
pub const TRUNCATE: u64 = 2;
/// `rename`; the file is the new name.
pub const RENAME: u64 = 3;
/// `unlink`.
pub const UNLINK: u64 = 4;
/// How many operations there are.
pub const OPERATIONS: u64 = 5;

/// The database.
pub const DATABASE: u64 = 0;
/// Its write-ahead log.
pub const WAL: u64 = 1;
/// Any other file or directory below the root.
pub const OTHER: u64 = 2;
/// How many kinds of file there are.
pub const FILE_KINDS: u64 = 3;

/// It fails with the error `PARAMETER` and does nothing.
pub const MODE_FAIL: u64 = 0;
/// A write leaves its first `PARAMETER` bytes ([`HALF`]: half of them) and fails with EIO. Others fail.
pub const MODE_TEAR: u64 = 1;
/// The same, and the process is killed.
pub const MODE_TEAR_AND_KILL: u64 = 2;
/// The process is killed before it.
pub const MODE_KILL_BEFORE: u64 = 3;
/// The process is killed after it.
pub const MODE_KILL_AFTER: u64 = 4;
/// It is done `PARAMETER` milliseconds late.
pub const MODE_DELAY: u64 = 5;
/// It is done when it is let go.
pub const MODE_HANG: u64 = 6;

/// Of a torn write, half is kept.
pub const HALF: u64 = u64::MAX;

/// A record of the history: so many words, then the bytes that were there and those that were written.
pub const RECORD_WORDS: usize = 7;
/// In a record: what it is, a `RECORD_`.
pub const RECORD_KIND: usize = 0;
/// In a record: the file's number.
pub const RECORD_INODE: usize = 1;
/// In a record: when it was made, in nanoseconds since 1970, since numbers are used again.
pub const RECORD_BORN: usize = 2;
/// In a record: where it was written, or the new length.
pub const RECORD_AT: usize = 3;
/// In a record: the file's length before.
pub const RECORD_LENGTH: usize = 4;
/// In a record: bytes that were there.
pub const RECORD_OLD: usize = 5;
/// In a record: bytes that were written.
pub const RECORD_NEW: usize = 6;

/// Bytes were written.
pub const RECORD_WRITE: u64 = 0;
/// The length was set.
pub const RECORD_TRUNCATE: u64 = 1;
/// All that was written before is durable.
pub const RECORD_SYNC: u64 = 2;
/// A sync failed: what was written before may never become durable, whatever a later one says.
pub const RECORD_SYNC_FAILED: u64 = 3;

const _: () = assert!(SEEN + 8 * OPERATIONS * FILE_KINDS <= SLOTS && SLOTS + SLOT_BYTES * SLOT_COUNT <= BYTES);
