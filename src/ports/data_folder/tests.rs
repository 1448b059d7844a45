use super::*;

const NOW: Timestamp = 1_795_000_000.0;

fn parts(folder: &Path) -> Parts {
    Parts {
        database: Some(folder.join("db")),
        server: None,
        sessions: Some(folder.join("sessions.redb")),
        files: Some(folder.join("files")),
    }
}

/// An engine whose progress is in a file of the folder.
fn progress(database: &Path) -> Option<u64> {
    std::fs::read_to_string(database.join("progress")).ok()?.parse().ok()
}

const ENGINE: Inspection = Inspection {
    is_open: |database| database.join("open").exists(),
    check: |database, _| Ok(progress(database).unwrap()),
};

fn examine(folder: &Path, sequence: u64) -> Result<DataFolder, DataFault> {
    if folder.join("db").exists() {
        std::fs::write(folder.join("db/progress"), sequence.to_string()).unwrap();
    }
    DataFolder::examine(folder, parts(folder), ENGINE)
}

/// A folder that a hub has used and left cleanly at write 7.
fn used() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut data = examine(folder.path(), 0).unwrap();
    assert!(data.is_new());
    data.note_start(NOW).unwrap();
    let hub = data.settle(None).unwrap();
    std::fs::create_dir_all(folder.path().join("db/manifest")).unwrap();
    std::fs::create_dir_all(folder.path().join("files")).unwrap();
    std::fs::write(folder.path().join("db/manifest/1.manifest"), "m").unwrap();
    std::fs::write(folder.path().join("sessions.redb"), "s").unwrap();
    data.confirm(hub, NOW).unwrap();
    std::fs::write(folder.path().join("db/progress"), "7").unwrap();
    data.note_stop(Counts { users: 1, toys: 2, messages: 3 }, NOW, progress).unwrap();
    folder
}

#[test]
fn a_folder_is_known_again() {
    let folder = used();
    let data = examine(folder.path(), 7).unwrap();
    assert!(!data.is_new());
    let hub = data.hub().unwrap().clone();
    assert_eq!(data.settle(Some(hub.clone())).unwrap(), hub);
    assert!(matches!(data.settle(Some(HubId::random())), Err(DataFault::Foreign { .. })));
    assert!(matches!(data.settle(None), Err(DataFault::Foreign { .. })), "an empty database is no replacement");
}

#[test]
fn a_missing_part_is_named() {
    for part in ["db", "db/manifest/1.manifest", "sessions.redb", "files"] {
        let folder = used();
        let path = folder.path().join(part);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        let fault = examine(folder.path(), 7).unwrap_err().to_string();
        assert!(fault.contains(part.trim_end_matches("/1.manifest")), "{fault}");
        assert!(fault.contains("3 messages on 2026-11-18T"), "{fault}");
    }
}

#[test]
fn a_folder_without_its_hub_file_is_not_new() {
    let folder = used();
    std::fs::remove_file(folder.path().join(HUB_FILE)).unwrap();
    assert!(!examine(folder.path(), 7).unwrap().is_new(), "the database tells the identity");
    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    assert!(matches!(examine(folder.path(), 7), Err(DataFault::Missing { .. })));
}

#[test]
fn an_older_database_and_a_newer_format_are_refused() {
    let folder = used();
    assert!(matches!(examine(folder.path(), 6), Err(DataFault::Older { found: 6, expected: 7, .. })));
    let file = folder.path().join(HUB_FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("format = 1", "format = 2")).unwrap();
    assert!(matches!(examine(folder.path(), 7), Err(DataFault::Newer { found: 2, .. })));
    std::fs::write(&file, "format = ").unwrap();
    assert!(matches!(examine(folder.path(), 7), Err(DataFault::Unreadable { .. })));
}

#[test]
fn a_folder_in_use_is_refused_before_its_missing_parts() {
    let folder = used();
    std::fs::write(folder.path().join("db/open"), "").unwrap();
    std::fs::remove_file(folder.path().join(HUB_FILE)).unwrap();
    assert!(matches!(examine(folder.path(), 7), Err(DataFault::InUse(_))));
}

#[test]
fn a_first_start_that_is_cut_off_at_any_part_goes_on_with_the_same_identity() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = examine(folder.path(), 0).unwrap();
    data.note_start(NOW).unwrap();
    let hub = data.settle(None).unwrap();
    std::fs::create_dir_all(folder.path().join("db/manifest")).unwrap();
    std::fs::write(folder.path().join("db/manifest/1.manifest"), "m").unwrap();
    let mut data = examine(folder.path(), 1).unwrap();
    assert!(data.is_new());
    data.note_start(NOW).unwrap();
    assert_eq!((data.settle(None).unwrap(), data.settle(Some(hub.clone())).unwrap()), (hub.clone(), hub.clone()));
    data.confirm(hub, NOW).unwrap();
    assert_eq!(data.recovered_at(), None);
    assert!(matches!(examine(folder.path(), 1), Err(DataFault::MissingMendable { .. })), "now it is in use");
}

#[test]
fn a_start_without_a_clean_stop_is_a_recovery() {
    let recovered_at = |folder: &Path| {
        let mut data = examine(folder, 7).unwrap();
        data.note_start(NOW).unwrap();
        let hub = data.hub().cloned().unwrap_or_else(HubId::random);
        data.confirm(hub, NOW).unwrap();
        data.recovered_at()
    };
    let folder = used();
    assert_eq!(recovered_at(folder.path()), None);
    assert_eq!(recovered_at(folder.path()), Some(NOW), "it was not stopped");
    let folder = used();
    std::fs::remove_file(folder.path().join(HUB_FILE)).unwrap();
    assert_eq!(recovered_at(folder.path()), Some(NOW), "nobody knows how it was left");
}

#[test]
fn optional_parts_are_created_again_unless_the_database_is_missing() {
    let folder = used();
    let mend = || super::mend(folder.path(), &parts(folder.path()), ENGINE.is_open, NOW).unwrap();
    assert_eq!(mend(), Some(vec![]));
    std::fs::remove_dir_all(folder.path().join("files")).unwrap();
    std::fs::write(folder.path().join(HUB_FILE), "").unwrap();
    let aside = folder.path().join("hub.toml.damaged-1795000000");
    let files = folder.path().join("files");
    assert_eq!(mend(), Some(vec![Mended::HubFile(aside.clone()), Mended::Files(files)]));
    assert!(aside.exists() && !examine(folder.path(), 7).unwrap().is_new());
    std::fs::remove_dir_all(folder.path().join("files")).unwrap();
    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    assert_eq!(mend(), None);
    assert!(matches!(examine(folder.path(), 7), Err(DataFault::Missing { .. })));
}

#[test]
fn a_database_on_a_server_is_known_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let on_server = || Parts { database: None, server: Some("ws://store:8000".into()), ..parts(path) };
    let mut data = DataFolder::examine(path, on_server(), ENGINE).unwrap();
    data.note_start(NOW).unwrap();
    let of_database = HubId::random();
    let hub = data.settle(Some(of_database.clone())).unwrap();
    assert_eq!(hub, of_database, "another hub has made it");
    std::fs::write(path.join("sessions.redb"), "s").unwrap();
    std::fs::create_dir(path.join("files")).unwrap();
    data.confirm(hub, NOW).unwrap();
    assert_eq!(data.hub(), Some(&of_database));

    let again = DataFolder::examine(path, on_server(), ENGINE).unwrap();
    assert_eq!(again.settle(Some(of_database.clone())).unwrap(), of_database);
    let empty = again.settle(None).unwrap_err().to_string();
    assert!(empty.contains("ws://store:8000 is new and empty") && empty.contains("store.namespace"), "{empty}");
    let other = DataFolder::examine(path, parts(path), ENGINE).unwrap_err().to_string();
    assert!(other.contains("on the server ws://store:8000; set store.url"), "{other}");
    assert!(!path.join("db").exists());
}
