use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

const NOW: Timestamp = 1_795_703_484.0;

/// A data folder and a folder of backups.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn backups(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.data().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn begin(&self) -> Unfinished {
        let unfinished = BackupFolder::open(&self.backups()).unwrap().begin(NOW).unwrap();
        for part in [DATABASE, SESSIONS] {
            std::fs::write(unfinished.part(part), part).unwrap();
        }
        unfinished
    }

    /// Makes a complete snapshot. Returns its name and the result of the copy.
    fn back_up(&self, keep: Option<usize>) -> (String, Copied) {
        let unfinished = self.begin();
        let copied = unfinished
            .copy_files(&self.data(), "files", &["reply"], &CancellationToken::new(), &Progress::unwatched())
            .unwrap();
        let [database, sessions] = [DATABASE, SESSIONS].map(|part| Part::of(&unfinished.part(part)).unwrap());
        let mut manifest = Manifest::new(NOW, 1, database, sessions);
        manifest.lists.insert("files".into(), copied.list.clone());
        (unfinished.finish(&manifest, keep).unwrap(), copied)
    }

    fn snapshot(&self, name: Option<&str>) -> Result<Snapshot, BackupError> {
        BackupFolder::open_to_read(&self.backups()).unwrap().snapshot(name)
    }

    /// The path of a file's content in the pool.
    fn pooled(&self, content: &str) -> PathBuf {
        let path = self.folder.path().join("content");
        std::fs::write(&path, content).unwrap();
        let hash = Part::of(&path).unwrap().sha256;
        self.backups().join("pool").join(&hash[..2]).join(hash)
    }
}

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_later_snapshot_adds_only_new_files() {
    let desk = Desk::new();
    desk.write("files/chat/a.mp3", "first");
    desk.write("files/chat/b.mp3", "second");
    desk.write("files/image/a.jpg", "first");
    desk.write("files/reply/reply-1.mp3", "swept anyway");
    desk.write("files/chat/c.mp3#1", "half of an upl");
    let (first, copied) = desk.back_up(None);
    assert_eq!((copied.files, copied.new_files, copied.new_bytes), (3, 2, 11), "equal contents are one file");
    desk.write("files/chat/aa.mp3", "third");
    let (second, copied) = desk.back_up(None);
    assert_eq!((copied.files, copied.new_files, copied.new_bytes), (4, 1, 5));
    assert_eq!([first.as_str(), &second], ["000001-20261126T143124Z", "000002-20261126T143124Z"]);

    let target = desk.folder.path().join("restored");
    let extracted =
        desk.snapshot(None).unwrap().extract_files("files", &target, false, &Progress::unwatched()).unwrap();
    assert_eq!((extracted.files, extracted.bytes), (4, 21));
    for (path, content) in
        [("chat/a.mp3", "first"), ("chat/aa.mp3", "third"), ("chat/b.mp3", "second"), ("image/a.jpg", "first")]
    {
        let path = Path::new("files").join(path);
        assert_eq!(std::fs::read_to_string(target.join(&path)).unwrap(), content);
        assert_eq!(modified(&target.join(&path)), modified(&desk.data().join(&path)));
    }
    assert!(!target.join("files/reply").exists());
    let old = desk.folder.path().join("old");
    assert_eq!(
        desk.snapshot(Some(&first)).unwrap().extract_files("files", &old, false, &Progress::unwatched()).unwrap().files,
        3
    );
    assert!(!old.join("files/chat/aa.mp3").exists());
}

#[test]
fn a_file_that_is_changed_under_its_name_is_copied_again() {
    let desk = Desk::new();
    desk.write("files/chat/a.mp3", "first");
    let (first, _) = desk.back_up(None);
    desk.write("files/chat/a.mp3", "other");
    let later = std::fs::File::options().write(true).open(desk.data().join("files/chat/a.mp3")).unwrap();
    later.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
    desk.back_up(None);
    for (name, content) in [(Some(first.as_str()), "first"), (None, "other")] {
        let target = desk.folder.path().join(content);
        desk.snapshot(name).unwrap().extract_files("files", &target, false, &Progress::unwatched()).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("files/chat/a.mp3")).unwrap(), content);
    }
}

#[test]
fn an_interrupted_backup_is_no_snapshot_and_does_not_disturb_the_next() {
    let desk = Desk::new();
    desk.write("files/chat/a.mp3", "first");
    let unfinished = desk.begin();
    let (path, stop) = (unfinished.part(""), CancellationToken::new());
    unfinished.copy_files(&desk.data(), "files", &[], &stop, &Progress::unwatched()).unwrap();
    // As after SIGKILL: nothing is cleaned up, and the system has released the lock.
    let kept = desk.folder.path().join("kept");
    std::fs::rename(&path, &kept).unwrap();
    drop(unfinished);
    std::fs::rename(&kept, &path).unwrap();
    assert!(matches!(desk.snapshot(None), Err(BackupError::Empty(_))));
    let (name, copied) = desk.back_up(None);
    assert_eq!((name.as_str(), copied.new_files), ("000001-20261126T143124Z", 0), "the pool has it already");
    assert!(!path.exists());
    stop.cancel();
    let stopped = desk.begin().copy_files(&desk.data(), "files", &[], &stop, &Progress::unwatched());
    assert!(matches!(stopped, Err(BackupError::Stopped)));
    assert_eq!(BackupFolder::open(&desk.backups()).unwrap().names().unwrap(), [name]);
}

#[test]
fn damage_is_named() {
    let desk = Desk::new();
    for (path, content) in [("a", "first"), ("b", "second"), ("c", "third")] {
        desk.write(&format!("files/chat/{path}.mp3"), content);
    }
    desk.back_up(None);
    std::fs::write(desk.pooled("second"), "secone").unwrap();
    std::fs::remove_file(desk.pooled("third")).unwrap();
    let snapshot = desk.snapshot(None).unwrap();
    let target = desk.folder.path().join("restored");
    let error = snapshot.extract_files("files", &target, false, &Progress::unwatched()).unwrap_err().to_string();
    assert!(error.contains("2 of 3 files"), "{error}");
    assert!(error.contains("files/chat/b.mp3") && error.contains("is damaged"), "{error}");
    assert!(error.contains("files/chat/c.mp3") && error.contains("is missing"), "{error}");
    let other = desk.folder.path().join("other");
    let extracted = snapshot.extract_files("files", &other, true, &Progress::unwatched()).unwrap();
    assert_eq!((extracted.files, extracted.left_out), (1, 2));
    assert!(!other.join("files/chat/b.mp3").exists());

    let to = desk.folder.path().join("sessions");
    snapshot.extract_part(SESSIONS, &snapshot.manifest.sessions, &to).unwrap();
    std::fs::write(snapshot.part(SESSIONS), "sessions.redc").unwrap();
    let error = snapshot.extract_part(SESSIONS, &snapshot.manifest.sessions, &to.with_extension("2")).unwrap_err();
    assert!(error.to_string().contains("sessions.redb: is damaged"), "{error}");
    let list = snapshot.part("files.list");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("a.mp3", "d.mp3")).unwrap();
    let error =
        snapshot.extract_files("files", &target.join("2"), true, &Progress::unwatched()).unwrap_err().to_string();
    assert!(error.contains("files.list: is damaged"), "{error}");
    std::fs::write(snapshot.part("manifest.toml"), "format = ").unwrap();
    let error = desk.snapshot(None).unwrap_err().to_string();
    assert!(error.contains("manifest.toml: is damaged"), "{error}");
    std::fs::write(snapshot.part("manifest.toml"), "format = 2").unwrap();
    assert!(matches!(desk.snapshot(None), Err(BackupError::Newer { found: 2, .. })));
    let error = desk.snapshot(Some("000009-20261126T143124Z")).unwrap_err().to_string();
    assert!(error.contains("it holds 000001-20261126T143124Z"), "{error}");
}

#[test]
fn a_damaged_file_of_the_pool_is_written_again_if_its_size_differs() {
    let desk = Desk::new();
    desk.write("files/chat/a.mp3", "first");
    desk.back_up(None);
    std::fs::write(desk.pooled("first"), "").unwrap();
    assert_eq!(desk.back_up(None).1.new_files, 1);
    assert_eq!(std::fs::read_to_string(desk.pooled("first")).unwrap(), "first");
}

#[test]
fn old_snapshots_go_with_the_files_that_only_they_had() {
    let desk = Desk::new();
    desk.write("files/chat/gone.mp3", "gone");
    desk.write("files/chat/stays.mp3", "stays");
    let (first, _) = desk.back_up(Some(2));
    std::fs::remove_file(desk.data().join("files/chat/gone.mp3")).unwrap();
    let (second, _) = desk.back_up(Some(2));
    assert!(desk.pooled("gone").exists(), "the first still has it");
    std::fs::write(desk.backups().join("notes.txt"), "the operator's own").unwrap();
    let (third, _) = desk.back_up(Some(2));
    assert_eq!(BackupFolder::open_to_read(&desk.backups()).unwrap().names().unwrap(), [second, third]);
    assert!(!desk.pooled("gone").exists() && !desk.backups().join(first).exists());
    assert!(desk.pooled("stays").exists() && desk.backups().join("notes.txt").exists());
    let target = desk.folder.path().join("restored");
    assert_eq!(
        desk.snapshot(None).unwrap().extract_files("files", &target, false, &Progress::unwatched()).unwrap().files,
        1
    );
}

#[test]
fn one_at_a_time_works_in_a_folder() {
    let desk = Desk::new();
    desk.back_up(None);
    let reading = BackupFolder::open_to_read(&desk.backups()).unwrap();
    assert!(matches!(BackupFolder::open(&desk.backups()), Err(BackupError::InUse(_))));
    BackupFolder::open_to_read(&desk.backups()).unwrap();
    // As a child process shares the file that starts at this moment.
    let _shared = reading.lock.as_ref().unwrap().try_clone().unwrap();
    drop(reading);
    let _writing = BackupFolder::open(&desk.backups()).unwrap();
    assert!(matches!(BackupFolder::open_to_read(&desk.backups()), Err(BackupError::InUse(_))));
}

#[test]
fn a_list_does_not_lead_out_of_its_folder() {
    let desk = Desk::new();
    desk.write("files/chat/a.mp3", "first");
    desk.back_up(None);
    let mut snapshot = desk.snapshot(None).unwrap();
    let list = snapshot.part("files.list");
    for path in ["../out", "files/../../out", "/out"] {
        let text = std::fs::read_to_string(&list).unwrap();
        let line = text.rsplit_once(' ').unwrap().0;
        std::fs::write(&list, format!("{line} {path}\n")).unwrap();
        snapshot.manifest.lists.insert("files".into(), Part::of(&list).unwrap());
        let error = snapshot
            .extract_files("files", &desk.folder.path().join("restored"), true, &Progress::unwatched())
            .unwrap_err();
        assert!(error.to_string().contains("damaged line"), "{path}: {error}");
    }
}

#[test]
fn a_data_folder_appears_complete_or_not_at_all() {
    let desk = Desk::new();
    desk.write("files/chat/a.mp3", "first");
    assert!(matches!(Target::open(&desk.data()), Err(BackupError::NotEmpty(_))), "nothing is overwritten");
    assert!(desk.data().join("files/chat/a.mp3").exists());

    let data = desk.folder.path().join("new");
    let open = || match Target::open(&data).unwrap() {
        Opening::Empty(target) => target,
        Opening::Ready(..) => panic!("nothing is ready"),
    };
    let target = open();
    std::fs::create_dir(target.path().join("db")).unwrap();
    assert!(unfinished_restore(&data));
    std::mem::forget(target);
    let target = open();
    assert!(!target.path().join("db").exists(), "an interrupted restore begins again");
    drop(target);
    assert!(!unfinished_restore(&data));

    let target = open();
    let building = target.path().to_owned();
    std::fs::create_dir(building.join("db")).unwrap();
    std::fs::write(building.join("sessions.redb"), "s").unwrap();
    target.make_ready("a note").unwrap();
    // As after SIGKILL between two moves.
    std::fs::rename(building.join("db"), data.join("db")).unwrap();
    drop(target);
    assert!(unfinished_restore(&data));
    let Opening::Ready(target, note) = Target::open(&data).unwrap() else { panic!("it is ready") };
    assert_eq!(note, "a note");
    target.put_in_place().unwrap();
    assert!(data.join("db").exists() && data.join("sessions.redb").exists() && !unfinished_restore(&data));
}
