//! The manual pages and completions that the program prints, read by `groff` and `bash`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::world::within;

async fn toyhub(arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toyhub"));
    let output = within("the command", command.args(arguments).current_dir(folder).output()).await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The output and the errors of a program that reads `input`.
async fn piped(program: &str, arguments: &[&str], input: &str) -> (String, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let write = async {
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
    };
    let ((), output) = within(program, async { tokio::join!(write, child.wait_with_output()) }).await;
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<&str> {
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = commands.lines().take_while(|line| !line.is_empty());
    // The description of a command goes on in lines that are indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_a_manual_page_that_groff_formats_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    // A configuration with faults does not matter.
    std::fs::write(folder.path().join("broker.toml"), "[server]\nlogg = 1\n").unwrap();
    toyhub(&["man", "--out", "pages"], folder.path()).await;

    let mut expected = BTreeSet::from(["toyhub.1".to_owned()]);
    for command in listed(&toyhub(&["--help"], folder.path()).await) {
        expected.insert(format!("toyhub-{command}.1"));
        for inner in listed(&toyhub(&[command, "--help"], folder.path()).await) {
            expected.insert(format!("toyhub-{command}-{inner}.1"));
        }
    }
    assert!(expected.contains("toyhub-device-add.1") && expected.len() > 30, "{expected:?}");
    let pages = folder.path().join("pages");
    let written: BTreeSet<String> =
        std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let missing: Vec<_> = expected.difference(&written).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let main = toyhub(&["man"], folder.path()).await;
    assert_eq!(main, std::fs::read_to_string(pages.join("toyhub.1")).unwrap());
    for page in &written {
        let source = std::fs::read_to_string(pages.join(page)).unwrap();
        let (formatted, warnings) = piped("groff", &["-man", "-Tascii", "-P-cbou", "-ww"], &source).await;
        assert_eq!(warnings, "", "{page}");
        assert!(formatted.contains("SYNOPSIS"), "{page}: {formatted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = toyhub(&["completions", "bash"], folder.path()).await;
    for (words, expected) in [
        ("toyhub dev", "device"),
        ("toyhub device im", "import"),
        ("toyhub device add --co", "--count"),
        ("toyhub toy content ID appr", "approved"),
    ] {
        let last = words.split(' ').count() - 1;
        let (current, before) = (words.split(' ').nth(last).unwrap(), words.split(' ').nth(last - 1).unwrap());
        let asked = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}; COMPREPLY=()\n\
             _toyhub toyhub '{current}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        let (offered, faults) = piped("bash", &["--norc", "-s"], &asked).await;
        assert_eq!(faults, "", "{words}");
        assert!(offered.lines().any(|offer| offer == expected), "{words}: {offered}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(toyhub(&["completions", shell], folder.path()).await.contains("toyhub"), "{shell}");
    }
}
