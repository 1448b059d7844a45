//! The archive of a release: `scripts/archive` makes it, and `scripts/get-release` fetches it from a file server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::world::within;

async fn script(name: &str, arguments: &[&str]) -> Output {
    let program: PathBuf = [env!("CARGO_MANIFEST_DIR"), "scripts", name].iter().collect();
    within(name, Command::new(program).args(arguments).output()).await.unwrap()
}

/// Serves a folder, and gives its address.
async fn serve(folder: &Path) -> (Child, String) {
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    // Serving HTTP on 127.0.0.1 port 40000 (http://127.0.0.1:40000/) ...
    let line = within("the file server", lines.next_line()).await.unwrap().unwrap();
    let url = line.split(['(', ')']).nth(1).unwrap().trim_end_matches('/').to_owned();
    (server, url)
}

#[tokio::test]
async fn a_release_is_fetched_and_a_changed_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let release = folder.path().join("release");
    std::fs::create_dir_all(release.join("models")).unwrap();
    // It stands for the program, which is large.
    std::fs::write(release.join("toyhub"), "#!/bin/sh\necho toyhub 1.2.3\n").unwrap();
    std::fs::set_permissions(release.join("toyhub"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(release.join("models/model.bin"), "model").unwrap();
    let made = script("archive", &[&path("release"), &path("out")]).await;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let archive = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
    let (_server, url) = serve(&folder.path().join("out")).await;

    let fetched = script("get-release", &[&url, &path("got")]).await;
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(fetched.stdout, b"toyhub 1.2.3\n");
    assert_eq!(std::fs::read(path("got/models/model.bin")).unwrap(), b"model");

    let refused = async |more: &[&str]| {
        let to = path("got");
        let output = script("get-release", &[&[url.as_str(), &to], more].concat()).await;
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("not the expected one"));
        // The release of before is there, and nothing else.
        assert_eq!(std::fs::read(path("got/models/model.bin")).unwrap(), b"model");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    };
    refused(&[&"0".repeat(64)]).await;
    let mut bytes = std::fs::read(&archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    refused(&[]).await;
}
