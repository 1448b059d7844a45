//! The `toyhub` program: parses the command line and runs the command.

// The database's futures are nested deeper than the compiler follows by itself.
#![recursion_limit = "256"]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use toyhub::service::Failure;

/// Password hashes need 19 MiB each, on changing threads; glibc's allocator keeps that for every thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SurrealDB's parser and executor recurse deeper than the system's default stack.
const THREAD_STACK_BYTES: usize = 10 * 1024 * 1024;

fn main() -> ExitCode {
    let arguments = toyhub::command::Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(THREAD_STACK_BYTES).build();
    let outcome = match runtime {
        Ok(runtime) => {
            // The command runs on a worker thread, as the size of the main thread's stack cannot be set here.
            let command = runtime.spawn(toyhub::command::run(arguments));
            let ended_early = |error| Err(Failure::Essential(format!("the command ended early: {error}")));
            let outcome = runtime.block_on(command).unwrap_or_else(ended_early);
            // All data is on disk by now; a conversion that still runs on a thread is not needed any more.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::Command(format!("cannot start the runtime: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is no way left to report a failure of this.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
