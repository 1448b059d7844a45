//! The `toyhub` program: parses the command line and runs the command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use toyhub::command::Arguments;

/// Password hashes need 19 MiB each, on changing threads; glibc's allocator keeps that for every thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match toyhub::command::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is no way left to report a failure of this.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
