//! Repeated recordings, commits of unknown outcome, sounds without a message, and the doctor's report on them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::*;
use crate::model::Sent;
use crate::ports::store::Fault;

const NOW: Timestamp = 1_760_000_000.0;
const ADDING: &str = "CREATE $id CONTENT $row";

/// A recording, different for each `pitch`.
fn recording(pitch: i16) -> Bytes {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    (0..4000_i16).for_each(|n| writer.write_sample((n % 40) * 50 * pitch).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner().into()
}

impl World {
    pub(super) async fn record(
        &self,
        from: &Party,
        to: &Party,
        pitch: i16,
        now: Timestamp,
    ) -> Result<Sent, DomainError> {
        let mut upload = self.hub.begin_upload(1 << 20).await.unwrap();
        // In pieces, as only the complete content counts.
        let bytes = recording(pitch);
        for piece in bytes.chunks(1000) {
            upload.write(&Bytes::copy_from_slice(piece)).await.unwrap();
        }
        self.hub.send_recording(from, &to.id().parse().unwrap(), upload, now).await
    }

    fn arm(&self, is_done: bool) {
        *self.hub.store.fault.lock().unwrap() = Some(Fault { text: ADDING, is_done });
    }

    pub(super) async fn unread(&self, party: &Party) -> usize {
        self.hub.unread(party, 100).await.unwrap().messages.len()
    }

    /// The stored recordings.
    pub(super) fn sounds(&self) -> Vec<std::path::PathBuf> {
        let Ok(folder) = std::fs::read_dir(self._folder.path().join("files/chat")) else { return Vec::new() };
        folder.map(|entry| entry.unwrap().path()).filter(|path| !path.to_str().unwrap().contains("/say-")).collect()
    }

    /// Sets the age of every stored sound, in the times of the files.
    fn age(&self, seconds: u64) {
        for path in self.sounds() {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        }
    }
}

fn real_now() -> Timestamp {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_recording_again_is_the_same_message_for_a_while() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let (_, strangers_toy) = world.family().await;
    let parent = Party::User(user);
    let first = world.record(&parent, &toy, 1, NOW).await.unwrap();
    for later in [0.0, 1.0, 599.0] {
        let again = world.record(&parent, &toy, 1, NOW + later).await.unwrap();
        assert_eq!((&again.message, &again.sound, &again.notice), (&first.message, &first.sound, &first.notice));
    }
    assert_eq!((world.unread(&toy).await, world.sounds().len()), (1, 1));
    let others = [
        world.record(&parent, &toy, 2, NOW).await.unwrap(),
        world.record(&toy, &parent, 1, NOW).await.unwrap(),
        world.record(&parent, &toy, 1, NOW + 601.0).await.unwrap(),
    ];
    for other in &others {
        assert_ne!(first.message, other.message, "another recording, another sender, a canned greeting later on");
        assert_ne!(first.sound, other.sound);
    }
    assert_eq!((world.unread(&toy).await, world.unread(&parent).await), (3, 1));
    let again = world.record(&parent, &toy, 1, NOW + 1000.0).await.unwrap();
    assert_eq!(again.message, others[2].message, "which may be sent again, too");
    let refused = world.record(&parent, &strangers_toy, 1, NOW).await.unwrap_err();
    assert!(matches!(refused, DomainError::NotFriends), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_window_every_recording_is_a_message() {
    let mut config = Config::default();
    config.chats.retry_window_s = 0;
    let world = world(config).await;
    let (user, toy) = world.family().await;
    let parent = Party::User(user);
    for _ in 0..3 {
        world.record(&parent, &toy, 1, NOW).await.unwrap();
    }
    assert_eq!(world.unread(&toy).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_sent_eight_times_at_once_is_one_message() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let parent = Party::User(user);
    // Some of them began in the time window before that of the others.
    let at = |n: usize| (NOW / 600.0).floor() * 600.0 + if n.is_multiple_of(2) { -1.0 } else { 1.0 };
    let sent = futures_util::future::join_all((0..8).map(|n| world.record(&parent, &toy, 1, at(n)))).await;
    let ids: Vec<MessageId> = sent.into_iter().map(|sent| sent.unwrap().message).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(world.unread(&toy).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_unknown_outcome_is_neither_undone_nor_doubled() {
    for is_done in [true, false] {
        let world = world(Config::default()).await;
        let (user, toy) = world.family().await;
        let parent = Party::User(user);
        let mut ears = world.connected(&toy).await;
        world.arm(is_done);
        let unknown = world.record(&parent, &toy, 1, NOW).await.unwrap_err();
        assert!(matches!(unknown, DomainError::OutcomeUnknown(_)), "{unknown}");
        assert_eq!((world.unread(&toy).await, world.sounds().len()), (usize::from(is_done), 1), "the sound stays");
        assert_eq!(heard(&mut ears), [], "nothing is announced that may not be");

        let sent = world.record(&parent, &toy, 1, NOW + 30.0).await.unwrap();
        assert_eq!((world.unread(&toy).await, world.sounds().len()), (1, 1), "done: {is_done}");
        assert!(world.sounds()[0].ends_with(sent.sound.as_str()));
        let told = heard(&mut ears);
        assert!(told.len() == 1 && told[0].1.contains(sent.message.as_str()), "{told:?}");
        assert_eq!(world.hub.receive(&toy, None).await.unwrap()[0].id, sent.message);
        world.record(&parent, &toy, 1, NOW + 60.0).await.unwrap();
        assert_eq!(heard(&mut ears), [], "what was heard is not announced again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sounds_without_a_message_are_deleted_after_an_hour_and_no_others() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let parent = Party::User(user);
    let sweep = async || world.hub.sweep_sounds(SystemTime::UNIX_EPOCH, SystemTime::now()).await.unwrap();
    world.record(&parent, &toy, 1, real_now()).await.unwrap();
    world.hub.notice(&toy, "Mum").await;
    let kept = world.sounds();
    world.arm(false);
    world.record(&parent, &toy, 2, real_now()).await.unwrap_err();
    assert_eq!(world.sounds().len(), 2);
    let name: FileName = world
        .sounds()
        .iter()
        .find(|path| !kept.contains(path))
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();

    world.age(3000);
    assert!(sweep().await);
    assert_eq!(world.sounds().len(), 2, "it is not an hour old");
    world.age(4000);
    let claimed = world.hub.sounds.send(&name).unwrap();
    assert!(!sweep().await, "one is left");
    assert_eq!(world.sounds().len(), 2, "it is being sent again");
    drop(claimed);
    let since = SystemTime::now() - Duration::from_secs(3700);
    assert!(world.hub.sweep_sounds(since, SystemTime::now()).await.unwrap());
    assert_eq!(world.sounds().len(), 2, "it is older than what this sweep looks at");
    assert!(sweep().await);
    assert_eq!(world.sounds(), kept, "the sound of a message stays, however old it is");

    let sent = world.record(&parent, &toy, 2, real_now()).await.unwrap();
    assert_eq!((sent.sound, world.unread(&toy).await), (name, 2), "a late attempt stores it anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_while_the_database_is_unavailable_or_another_one() {
    let world = world(Config::default()).await;
    let sweep = async || world.hub.sweep_sounds(SystemTime::UNIX_EPOCH, SystemTime::now()).await;
    let folder = world._folder.path().join("files/chat");
    std::fs::create_dir_all(&folder).unwrap();
    for n in 0..17 {
        std::fs::write(folder.join(format!("{n}.mp3")), b"a voice").unwrap();
    }
    world.age(4000);
    assert!(!sweep().await.unwrap());
    assert_eq!(world.sounds().len(), 17, "a database without any of these messages is not theirs");
    let found = world.hub.examine(true, real_now()).await.unwrap();
    assert!(found.open[0].contains("17 of 17") && found.mended.is_empty(), "{found:?}");

    std::fs::remove_file(folder.join("0.mp3")).unwrap();
    for (text, left) in [("WHERE sound IN $sounds", 16), ("WHERE sound = $sound", 1)] {
        *world.hub.store.fault.lock().unwrap() = Some(Fault { text, is_done: true });
        assert!(!sweep().await.unwrap_or_default(), "{text}");
        assert_eq!(world.sounds().len(), left, "{text}: what could not be looked up is left alone");
    }
    assert!(sweep().await.unwrap());
    assert_eq!(world.sounds().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_reports_all_faults_and_repairs_those_that_it_can() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let parent = Party::User(user);
    let first = world.record(&parent, &toy, 1, real_now()).await.unwrap();
    world.record(&toy, &parent, 2, real_now()).await.unwrap();
    let healthy = world.hub.examine(false, real_now()).await.unwrap();
    assert_eq!(healthy.summary, "1 chats, 2 messages, 2 recordings, 1 streams of events");
    assert!(healthy.mended.is_empty() && healthy.open.is_empty() && healthy.lost.is_empty(), "{healthy:?}");

    std::fs::remove_file(world._folder.path().join("files/chat").join(first.sound.as_str())).unwrap();
    world.arm(false);
    world.record(&parent, &toy, 3, real_now()).await.unwrap_err();
    world.age(4000);
    let found = world.hub.examine(false, real_now()).await.unwrap();
    assert_eq!(found.open, ["1 recordings without a message, older than an hour"]);
    assert_eq!(found.lost, [format!("the sounds of 1 messages, which are kept: {}", first.message)]);
    assert_eq!(world.sounds().len(), 2, "to look deletes nothing");
    let found = world.hub.examine(true, real_now()).await.unwrap();
    assert_eq!(found.mended, ["1 recordings without a message, older than an hour: deleted"]);
    assert!(found.open.is_empty() && found.lost.len() == 1, "{found:?}");
    assert_eq!((world.sounds().len(), world.unread(&toy).await), (1, 1), "a message without its sound is kept");
    let found = world.hub.examine(true, real_now()).await.unwrap();
    assert!(found.mended.is_empty() && found.open.is_empty(), "{found:?}");
}

impl World {
    /// As a hub that starts after a crash at this time.
    fn crash(&mut self, now: Timestamp) {
        for _ in 0..2 {
            let path = self._folder.path();
            let parts = Parts { database: None, server: None, sessions: None, files: Some(path.join("files")) };
            let engine = Inspection { is_open: |_| false, check: |_, _| Ok(0) };
            let mut data = DataFolder::examine(path, parts, engine).unwrap();
            data.note_start(now).unwrap();
            let hub = data.hub().cloned().unwrap_or_else(HubId::random);
            data.confirm(hub, now).unwrap();
            self.hub.folder = data;
        }
    }

    /// A recording whose upload is cut off before its message is in the database.
    async fn cut_upload(&self, from: &Party, to: &Party, pitch: i16) -> std::path::PathBuf {
        let before = self.sounds();
        self.arm(false);
        self.record(from, to, pitch, real_now()).await.unwrap_err();
        self.sounds().into_iter().find(|path| !before.contains(path)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_cut_off_by_a_crash_is_deleted_after_its_days_and_with_its_sender() {
    const DAY_S: u64 = 86_400;
    let mut world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let (other, others_toy) = world.family().await;
    let (parent, stranger) = (Party::User(user.clone()), Party::User(other));
    let sent = world.record(&parent, &toy, 1, real_now()).await.unwrap();
    let cut = world.cut_upload(&parent, &toy, 2).await;
    let of_toy = world.cut_upload(&toy, &parent, 3).await;
    let of_others = world.cut_upload(&stranger, &others_toy, 4).await;
    world.crash(real_now() + 2.0);
    let sweep = async |world: &World| {
        let now = SystemTime::now();
        assert!(world.hub.sweep_sounds(SystemTime::UNIX_EPOCH, now).await.unwrap());
        world.hub.sweep_old(real_now()).await.unwrap();
    };
    world.age(29 * DAY_S);
    sweep(&world).await;
    assert_eq!(world.sounds().len(), 4, "it may be all that is left of a message");
    let found = world.hub.examine(false, real_now()).await.unwrap();
    assert!(found.open[0].starts_with("3 recordings have no message"), "{found:?}");

    // The doctor has put one aside; the account of its sender is erased.
    let lost = world._folder.path().join("files/lost");
    std::fs::create_dir_all(&lost).unwrap();
    std::fs::rename(&cut, lost.join(cut.file_name().unwrap())).unwrap();
    world.hub.erase_account(&user, Some(&user), real_now()).await.unwrap();
    world.hub.finish_erasures(real_now()).await.unwrap();
    assert!(!of_toy.exists() && std::fs::read_dir(&lost).unwrap().next().is_none(), "nothing of the family is left");
    assert!(!world.sounds().iter().any(|path| path.ends_with(sent.sound.as_str())));
    assert_eq!(world.sounds(), [of_others.as_path()]);

    world.age(31 * DAY_S);
    std::fs::write(lost.join("old.mp3"), b"a voice").unwrap();
    let old = std::fs::File::options().write(true).open(lost.join("old.mp3")).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(31 * DAY_S)).unwrap();
    std::fs::write(lost.join("new.mp3"), b"a voice").unwrap();
    sweep(&world).await;
    assert_eq!(world.sounds().len(), 0);
    assert!(!lost.join("old.mp3").exists() && lost.join("new.mp3").exists());
}

#[tokio::test]
async fn names_of_sounds_have_128_bits_that_only_this_hub_can_derive() {
    let (one, other) = (world(Config::default()).await, world(Config::default()).await);
    let party = Party::User(UserId::random());
    let derived = |world: &World| world.hub.secret_name("say", "mp3", &[b"the same text"]).unwrap().to_string();
    assert_eq!(derived(&one), derived(&one));
    assert_ne!(derived(&one), derived(&other));
    let random = || one.hub.new_recording_name(&party, "mp3").unwrap().to_string();
    assert_ne!(random(), random());
    for name in [derived(&one), random()] {
        let digits = name.strip_suffix(".mp3").unwrap().rsplit('-').next().unwrap().to_owned();
        assert!(digits.len() == 32 && hex::decode(&digits).is_ok(), "{name}");
    }
}
