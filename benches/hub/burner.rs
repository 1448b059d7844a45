//! A process that keeps one core busy.

use std::process::{Child, Command};

/// The argument with which a program of these measurements calls [`burn`].
pub const BURN: &str = "--burn";

/// A process that takes one core until it is dropped.
pub struct Burner(Child);

impl Burner {
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        Self(Command::new(program).arg(BURN).spawn().expect("a burner starts"))
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        // It does not end by itself; if it was killed already, that is not an error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Never returns.
pub fn burn() -> ! {
    let mut number = 1u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
