//! Links only what a target reaches. The counters of all other code would stay in the program otherwise: a quarter of a
//! million bytes, which libFuzzer clears and reads at each run.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let (Ok(compiler), Ok(host)) = (std::env::var("RUSTC"), std::env::var("HOST")) else { return };
    let Ok(output) = Command::new(compiler).args(["--print", "sysroot"]).output() else { return };
    let Ok(sysroot) = String::from_utf8(output.stdout) else { return };
    // The linker that comes with the compiler can discard counters.
    let linker = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld/ld.lld");
    if linker.exists() {
        println!("cargo::rustc-link-arg-bins=--ld-path={}", linker.display());
        println!("cargo::rustc-link-arg-bins=-Wl,--gc-sections,-z,start-stop-gc");
    }
}
