//! How the threads of a recognition wait for each other.
//!
//! They meet some hundred times in a recognition. By default, a thread keeps its processor while it waits for 3 ms. Beside a
//! busy process, which takes the processor of the other one for about as long, a recognition then takes many times as long.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::LazyLock;

use super::check_processor;

/// The variable that tells the library of OpenMP how often a thread looks whether the wait is over before it sleeps, and its
/// value. With 300 and less, a recognition on an idle machine may take 1.6 times as long, as waking a thread takes long; with
/// 6,000, one beside a busy process takes 1.6 times as long. The library's default is 300,000.
const LOOKS: (&str, &str) = ("GOMP_SPINCOUNT", "1000");

static SLEEPS: LazyLock<bool> = LazyLock::new(|| {
    // The whole of whisper.cpp is built for such processors.
    check_processor().is_ok()
        && whisper_rs::print_system_info().contains("OPENMP = 1")
        && env::var_os(LOOKS.0).is_some()
});

/// Whether a thread soon sleeps while it waits, by [`let_threads_sleep`] or by the operator's own number. Otherwise, a
/// recognition should have one thread.
pub fn threads_sleep() -> bool {
    *SLEEPS
}

/// Lets a thread sleep soon while it waits. The library of OpenMP reads its environment before `main`; so this process
/// executes its own program again, with the variable, unless the environment has it already. If that fails, it returns.
pub fn let_threads_sleep() {
    if !cfg!(target_os = "linux") || env::var_os(LOOKS.0).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let (Some(name), Ok(program)) = (arguments.next(), env::current_exe()) else { return };
    let _failure = Command::new(program).arg0(name).args(arguments).env(LOOKS.0, LOOKS.1).exec();
}
