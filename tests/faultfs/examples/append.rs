//! Does what each line of its input says to the file that its argument names, and prints what came of it and how long it took:
//! `ok MILLISECONDS` or `error NUMBER MILLISECONDS`. It knows nothing of faults.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::{Instant, SystemTime};

fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).expect("the first argument is a file");
    let mut file = File::options().create(true).read(true).append(true).open(&path)?;
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        #[allow(clippy::disallowed_methods, reason = "this is a program of its own")]
        let begun = Instant::now();
        let result = obey(&mut file, &path, &words);
        let ms = begun.elapsed().as_millis();
        match result {
            Ok(()) => println!("ok {ms}"),
            Err(error) => println!("error {} {ms}", error.raw_os_error().unwrap_or(0)),
        }
    }
    Ok(())
}

fn obey(file: &mut File, path: &str, words: &[&str]) -> io::Result<()> {
    let number = |place: usize| words[place].parse::<usize>().expect("a number");
    match words[0] {
        "write" => file.write(&vec![b'x'; number(1)]).map(drop),
        "writev" => {
            let (a, b) = (vec![b'a'; number(1)], vec![b'b'; number(2)]);
            file.write_vectored(&[IoSlice::new(&a), IoSlice::new(&b)]).map(drop)
        }
        "pwrite" => {
            let mut options = File::options();
            let options = options.create(true).truncate(false).write(true);
            let other = options.open(words[1])?;
            other.write_at(&vec![b'p'; number(2)], number(3) as u64).map(drop)
        }
        // Another descriptor of the same file.
        "write-dup" => file.try_clone()?.write(&vec![b'd'; number(1)]).map(drop),
        "fsync" => file.sync_all(),
        "fdatasync" => file.sync_data(),
        "sync-dir" => File::open(words[1])?.sync_all(),
        "truncate" => file.set_len(number(1) as u64),
        "rename" => fs::rename(path, words[1]),
        "remove" => fs::remove_file(words[1]),
        "copy" => fs::copy(path, words[1]).map(drop),
        "read" => File::open(path)?.read_to_end(&mut Vec::new()).map(drop),
        "threads" => {
            std::thread::scope(|scope| {
                for _ in 0..number(1) {
                    let mut file = file.try_clone().expect("a descriptor");
                    let count = number(2);
                    scope.spawn(move || {
                        for _ in 0..count {
                            // A failure is counted by who made it.
                            let _failed = file.write(b"t");
                            let _failed = file.sync_data();
                        }
                    });
                }
            });
            Ok(())
        }
        "clock" => {
            #[allow(clippy::disallowed_methods, reason = "this is a program of its own")]
            let now = SystemTime::now();
            let since = now
                .duration_since(SystemTime::UNIX_EPOCH)
                .map(|since| since.as_millis());
            println!("now {}", since.expect("after 1970"));
            Ok(())
        }
        other => panic!("unknown: {other}"),
    }
}
