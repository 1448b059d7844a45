//! The `toyhub` program: parses the command line and runs the command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use toyhub::command::Arguments;

/// Password hashes need 19 MiB each, on changing threads; glibc's allocator keeps that for every thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes the C library look host names up by itself, in `/etc/hosts` and by DNS. A program that contains the C library would
/// otherwise load the modules that `/etc/nsswitch.conf` names, which belong to the C library of the system: with another
/// version of it, the program ends with a fault.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code)]
fn look_up_without_modules() {
    use std::ffi::{c_char, c_int};
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    // SAFETY: both texts end with a zero and are static, and no other thread has begun. A failure leaves the default.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

fn main() -> ExitCode {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    look_up_without_modules();
    match toyhub::command::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is no way left to report a failure of this.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
