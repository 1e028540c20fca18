//! The functions that would have been called without this library.

use std::ffi::CStr;
use std::mem::transmute_copy;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use libc::{c_int, c_void, clockid_t, iovec, off_t, size_t, ssize_t, timespec, timeval};

/// A function of the next library, looked for when it is first called.
pub struct Real<F> {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
    kind: std::marker::PhantomData<F>,
}

impl<F: Copy> Real<F> {
    /// # Safety
    /// `F` must be the type of a pointer to a function, and of the C library's function of that name.
    const unsafe fn named(name: &'static CStr) -> Self {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
        Self {
            name,
            address: AtomicPtr::new(null_mut()),
            kind: std::marker::PhantomData,
        }
    }

    /// The function itself.
    pub fn get(&self) -> F {
        let mut address = self.address.load(Relaxed);
        if address.is_null() {
            // SAFETY: the name ends with a zero, and RTLD_NEXT needs no handle.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            if address.is_null() {
                crate::give_up("the C library lacks a function");
            }
            self.address.store(address, Relaxed);
        }
        // SAFETY: `F` is a pointer to a function of this name and type, as `named` demands, and as large as this pointer.
        unsafe { transmute_copy(&address) }
    }
}

macro_rules! real {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*) => {$(
        #[doc = concat!("The real `", stringify!($symbol), "`.")]
        // SAFETY: the C library declares it so.
        pub static $name: Real<unsafe extern "C" fn($($argument),*) -> $result> = unsafe { Real::named($symbol) };
    )*};
}

real! {
    WRITE = c"write": fn(c_int, *const c_void, size_t) -> ssize_t;
    PWRITE = c"pwrite64": fn(c_int, *const c_void, size_t, off_t) -> ssize_t;
    WRITEV = c"writev": fn(c_int, *const iovec, c_int) -> ssize_t;
    PWRITEV = c"pwritev64": fn(c_int, *const iovec, c_int, off_t) -> ssize_t;
    FSYNC = c"fsync": fn(c_int) -> c_int;
    FDATASYNC = c"fdatasync": fn(c_int) -> c_int;
    FTRUNCATE = c"ftruncate64": fn(c_int, off_t) -> c_int;
    POSIX_FALLOCATE = c"posix_fallocate64": fn(c_int, off_t, off_t) -> c_int;
    COPY_FILE_RANGE = c"copy_file_range":
        fn(c_int, *mut off_t, c_int, *mut off_t, size_t, libc::c_uint) -> ssize_t;
    SENDFILE = c"sendfile64": fn(c_int, c_int, *mut off_t, size_t) -> ssize_t;
    RENAME = c"rename": fn(*const libc::c_char, *const libc::c_char) -> c_int;
    UNLINK = c"unlink": fn(*const libc::c_char) -> c_int;
    CLOCK_GETTIME = c"clock_gettime": fn(clockid_t, *mut timespec) -> c_int;
    GETTIMEOFDAY = c"gettimeofday": fn(*mut timeval, *mut c_void) -> c_int;
}

/// The real wall clock.
pub fn now() -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to what is ours.
    unsafe { CLOCK_GETTIME.get()(libc::CLOCK_REALTIME, &raw mut now) };
    now
}
