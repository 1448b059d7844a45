//! The documents of `docs/`: as the program generates them, and valid for all answers and events of a running hub.

mod http;
mod sockets;

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::world::within;

const NAMES: [&str; 2] = ["openapi.json", "asyncapi.json"];

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs")
}

pub fn document(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(docs().join(name)).unwrap()).unwrap()
}

#[test]
fn the_documents_are_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_toyhub"));
        let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = run(&["spec"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "only said, not written");
    run(&["spec", "--out", "new/docs"]);
    for name in NAMES {
        assert!(listed.contains(name), "{listed}");
        let written = std::fs::read_to_string(folder.path().join("new/docs").join(name)).unwrap();
        let kept = std::fs::read_to_string(docs().join(name)).unwrap();
        assert!(written == kept, "docs/{name} is not what the code says: run `toyhub spec --out docs`");
    }
}

/// A third-party validator (`tests/clients/validate.py`), over the documents of `docs/`.
pub struct Validator {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Validator {
    pub fn start() -> Self {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "clients", "validate.py"].iter().collect();
        let mut child = Command::new(crate::clients::installed("venv/bin/python3"))
            .arg(script)
            .arg(docs())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, input, lines: BufReader::new(output).lines() }
    }

    /// The fault of `value`, if there is one.
    pub async fn fault(&mut self, document: &str, place: &str, value: &Value) -> Option<String> {
        let line = json!({"document": document, "place": place, "value": value});
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let answer = within("the validator", self.lines.next_line()).await.unwrap().expect("the validator ended");
        (answer != "ok").then_some(answer)
    }

    /// `value` matches the schema, and does not with one more field.
    pub async fn holds(&mut self, document: &str, place: &str, value: &Value) {
        let fault = self.fault(document, place, value).await;
        assert_eq!(fault, None, "{document} {place}: {value}");
        let mut more = value.clone();
        let open = match &mut more {
            Value::Array(items) => items.first_mut(),
            object => Some(object),
        };
        if let Some(Value::Object(fields)) = open {
            fields.insert("undescribed".into(), json!(1));
            assert!(self.fault(document, place, &more).await.is_some(), "{document} {place} lets all pass: {more}");
        }
    }
}

pub fn pointer(levels: &[&str]) -> String {
    levels.iter().map(|level| format!("/{}", level.replace('~', "~0").replace('/', "~1"))).collect()
}
