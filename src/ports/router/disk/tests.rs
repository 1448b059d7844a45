use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase as _, StorageBackend, TableDefinition, TableHandle as _};

use super::*;
use crate::model::{ChatId, Event, MessageId, ToyId};
use crate::ports::router::{Overflow, Payload};

pub(crate) const LIMITS: DiskLimits = DiskLimits {
    messages_max: 100,
    bytes_max: 100_000,
    age_max_s: 60,
    overflow: Overflow::DropOldest,
    cache_bytes: 1 << 20,
};

/// The deadline of each event of a test, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A disk in memory, which can be full, and whose content survives a simulated kill of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestDisk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    is_full: bool,
    /// Writes reach the disk, and the sync after them reports an error.
    syncs_fail: bool,
    /// The number of changes that still reach the disk before the process is killed; unlimited if there is no number.
    changes_left: Option<u64>,
}

impl TestDisk {
    pub(crate) fn open(&self, limits: DiskLimits) -> Result<(Disk, Found), DiskError> {
        let disk = self.clone();
        let opener: Opener = Box::new(move || {
            file::open("test", limits.cache_bytes, |builder| builder.create_with_backend(disk.clone()))
        });
        Disk::open_with(opener, limits)
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    pub(crate) fn set_syncs_fail(&self, syncs_fail: bool) {
        self.0.lock().unwrap().syncs_fail = syncs_fail;
    }

    /// Kills the process after this many more changes.
    pub(crate) fn kill_after(&self, changes: u64) {
        self.0.lock().unwrap().changes_left = Some(changes);
    }

    /// The disk as the next process finds it.
    pub(crate) fn after_kill(&self) -> Self {
        let bytes = self.0.lock().unwrap().bytes.clone();
        Self(Arc::new(Mutex::new(Platter { bytes, ..Platter::default() })))
    }

    fn change(&self, work: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        if platter.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(left) = &mut platter.changes_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
        }
        work(&mut platter.bytes);
        Ok(())
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let found = platter.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|bytes| bytes.resize(len as usize, 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.lock().unwrap().syncs_fail {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change(|_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|bytes| bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data))
    }
}

fn toy() -> Party {
    Party::Toy(ToyId::random())
}

fn publication(payload: &str) -> Arc<Publication> {
    Arc::new(Publication {
        topic: "a".parse().unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()).into(),
        qos: QoS::ExactlyOnce,
        retain: false,
        publisher: None,
        properties: Bytes::new(),
        expires_at: None,
    })
}

fn enqueue(session: SessionId, seq: u64) -> Op {
    let publication = publication(&seq.to_string());
    let entry = Entry { seq, publication, qos: QoS::ExactlyOnce, retain: false, released: false, published_at: now() };
    Op::Enqueue { session, entry, own: false }
}

fn open_session(disk: &Disk) -> SessionId {
    let session = disk.new_session();
    disk.order(Op::Open { session, party: toy(), client_id: "c".into(), expiry_s: 100 });
    session
}

/// The sequence numbers that are stored for a session.
async fn stored(disk: &Disk, session: SessionId) -> Vec<u64> {
    let page = disk.page(session, (0, u64::MAX), 1000, ConnectionId::for_tests(1)).await.unwrap();
    page.iter().map(|entry| entry.seq).collect()
}

async fn until_writable(disk: &Disk) {
    tokio::time::timeout(DEADLINE, disk.writable()).await.unwrap();
}

#[tokio::test]
async fn numbers_continue_after_removed_messages() {
    let limits = DiskLimits { messages_max: 3, ..LIMITS };
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let storage = TestDisk::default();
        let (disk, _) = storage.open(DiskLimits { overflow, ..limits }).unwrap();
        let sessions = [open_session(&disk), open_session(&disk), open_session(&disk)];
        // One session has acknowledged everything, one got more messages than it has room for, and one is unchanged.
        (1..=3).for_each(|seq| disk.order(enqueue(sessions[0], seq)));
        (1..=3).for_each(|seq| disk.order(Op::Forget { session: sessions[0], seq }));
        (1..=5).for_each(|seq| disk.order(enqueue(sessions[1], seq)));
        (1..=2).for_each(|seq| disk.order(enqueue(sessions[2], seq)));
        assert!(disk.barrier().reached().await);
        for _ in 0..2 {
            let (_disk, found) = storage.after_kill().open(limits).unwrap();
            let last_seq = |id| found.sessions.iter().find(|session| session.id == id).unwrap().last_seq;
            assert_eq!(sessions.map(last_seq), [3, 5, 2], "{overflow:?}");
        }
        // An ended session leaves no data, and its id is not used again.
        disk.order(Op::End { session: sessions[2] });
        disk.close().await;
        let (disk, found) = storage.after_kill().open(limits).unwrap();
        assert_eq!(found.sessions.len(), 2);
        assert!(sessions.iter().all(|session| *session != disk.new_session()));
    }
}

#[tokio::test]
async fn publications_for_other_hubs_are_kept_in_order_until_the_broker_has_them() {
    const MIA: &str = "5c8f582f268d7942f44c6703";
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let id = |stream, number| ForwardId { stream, number };
    let kept = |storage: &TestDisk| {
        let (_disk, found) = storage.after_kill().open(LIMITS).unwrap();
        let payload = |publication: &Publication| String::from_utf8(publication.payload.bytes().to_vec()).unwrap();
        found.outbox.iter().map(|(id, publication, _)| (*id, payload(publication))).collect::<Vec<_>>()
    };
    for (id, payload) in [(id(2, 1), "c"), (id(1, 300), "b"), (id(1, 7), "a"), (id(2, 2), MIA)] {
        disk.keep_for_hubs(id, &publication(payload), now());
    }
    disk.forget_forwarded(vec![id(1, 7), id(9, 9)]);
    disk.forget_forwarded(Vec::new());
    assert!(disk.barrier().reached().await);
    let expected = [(id(1, 300), "b".to_owned()), (id(2, 1), "c".to_owned()), (id(2, 2), MIA.to_owned())];
    assert_eq!(kept(&storage), expected);
    disk.order(Op::Erase { subjects: Arc::new(Subjects::new(&[MIA.to_owned()])) });
    assert!(disk.barrier().reached().await);
    assert_eq!(kept(&storage), expected[..2]);

    // A commit that fails, and is on disk all the same: its publication was refused.
    storage.set_syncs_fail(true);
    disk.keep_for_hubs(id(2, 3), &publication("refused"), now());
    assert!(!disk.barrier().reached().await);
    // The broker has got one meanwhile.
    disk.forget_forwarded(vec![id(2, 1)]);
    assert!(!disk.barrier().reached().await);
    storage.set_syncs_fail(false);
    until_writable(&disk).await;
    assert_eq!(kept(&storage), expected[..1]);
}

#[tokio::test]
async fn of_another_hub_the_last_publications_of_the_last_streams_are_kept() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let heard = |hub: &str, stream, number| Heard { hub: hub.into(), id: ForwardId { stream, number } };
    disk.order(Op::Heard(heard("ab", 1, 1)));
    for stream in 1..=18 {
        disk.order(Op::Heard(heard("a", stream, 5)));
        disk.order(Op::Heard(heard("a", stream, 6)));
    }
    disk.order(Op::Heard(heard("ab", 1, HEARD_WITHIN + 64)));
    disk.order(Op::Heard(heard("ab", 1, HEARD_WITHIN + 128)));
    assert!(disk.barrier().reached().await);
    let (_disk, found) = storage.after_kill().open(LIMITS).unwrap();
    let of_a = (3..=18).flat_map(|stream| [heard("a", stream, 5), heard("a", stream, 6)]);
    let of_ab = [64, 128].map(|after| heard("ab", 1, HEARD_WITHIN + after));
    let expected: Vec<_> = of_a.chain(of_ab).collect();
    assert_eq!(found.heard, expected);
}

#[test]
fn publications_that_an_earlier_version_has_heard_are_known() {
    let old: TableDefinition<(&str, u64, u64), ()> = TableDefinition::new("heard");
    let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(old).unwrap();
    let numbers = [5, 63, 64, 4000];
    numbers.iter().for_each(|number| drop(table.insert(("a", 7, *number), ()).unwrap()));
    drop(table);
    transaction.commit().unwrap();
    for _ in 0..2 {
        tables::make(&database).unwrap();
        let (found, _) = tables::read(&database).unwrap();
        let expected = numbers.map(|number| Heard { hub: "a".into(), id: ForwardId { stream: 7, number } });
        assert_eq!(found.heard, expected);
    }
    let tables: Vec<_> = database.begin_read().unwrap().list_tables().unwrap().collect();
    assert!(tables.iter().all(|table| table.name() != "heard"));
}

#[tokio::test]
async fn the_message_that_an_event_announces_is_known_after_a_kill() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let session = open_session(&disk);
    let id = MessageId::random();
    let event = Event::Message {
        id: id.clone(),
        from: toy(),
        chat: ChatId::random(),
        sound: "a.mp3".parse().unwrap(),
        notice: None,
        created_at: 1.0,
    };
    let event = Payload::event(event, None, |event, _| format!("{event:?}").into_bytes());
    let text = event.bytes().clone();
    let with_properties = Publication { properties: Bytes::from_static(&[1, 1]), ..(*publication("x")).clone() };
    let of_client = Arc::new(with_properties);
    let of_hub = Arc::new(Publication { payload: event, ..(*publication("")).clone() });
    for (seq, publication) in [(1, &of_hub), (2, &of_client)] {
        let publication = Arc::clone(publication);
        let entry =
            Entry { seq, publication, qos: QoS::AtLeastOnce, retain: false, released: false, published_at: now() };
        disk.order(Op::Enqueue { session, entry, own: false });
    }
    assert!(disk.barrier().reached().await);
    let (disk, _) = storage.after_kill().open(LIMITS).unwrap();
    let page = disk.page(session, (0, u64::MAX), 10, ConnectionId::for_tests(1)).await.unwrap();
    let [announced, other] = &page[..] else { panic!("{page:?}") };
    assert_eq!(announced.publication.payload.message(), Some(&id));
    assert_eq!(announced.publication.payload, of_hub.payload, "a replay of the same event is known as one with it");
    assert_eq!((announced.publication.payload.bytes(), announced.publication.properties.len()), (&text, 0));
    assert_eq!(other.publication.payload.message(), None);
    assert_eq!(other.publication.properties, of_client.properties);
    // A copy of a copy, as after a second kill, has the same content.
    let again = Entry { seq: 3, ..announced.clone() };
    disk.order(Op::Enqueue { session, entry: again, own: false });
    let page = disk.page(session, (2, u64::MAX), 10, ConnectionId::for_tests(1)).await.unwrap();
    assert_eq!(page[0].publication.payload.message(), Some(&id));
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the test waits for what must not happen while it is held")]
async fn orders_given_together_are_not_divided() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let session = open_session(&disk);
    assert!(disk.barrier().reached().await);
    let mut commit = {
        let _together = disk.together();
        disk.order(enqueue(session, 1));
        let mut commit = disk.barrier();
        let moment = Duration::from_millis(100);
        assert!(tokio::time::timeout(moment, commit.reached()).await.is_err(), "the second half is still to come");
        disk.order(Op::Received { session, id: 5 });
        commit
    };
    assert!(commit.reached().await);
    let (_disk, found) = storage.after_kill().open(LIMITS).unwrap();
    assert_eq!((found.sessions[0].last_seq, &found.sessions[0].received[..]), (1, &[5][..]));
}

#[tokio::test]
async fn a_session_that_is_served_does_not_run_out() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let session = open_session(&disk);
    disk.order(Op::Lifetime { session, expiry_s: 10, ended_at: 1000.0 });
    assert!(disk.barrier().reached().await);
    assert_eq!(storage.after_kill().open(LIMITS).unwrap().1.sessions[0].ended_at, 1000.0);
    disk.order(Op::Lifetime { session, expiry_s: 20, ended_at: 0.0 });
    assert!(disk.barrier().reached().await);
    let (_disk, found) = storage.after_kill().open(LIMITS).unwrap();
    assert_eq!(found.sessions[0].expiry_s, 20);
    assert!(found.sessions[0].ended_at > now() - DEADLINE.as_secs_f64(), "its time runs from the crash on");
}

#[tokio::test]
async fn a_full_disk_refuses_and_is_used_again_once_there_is_room() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let (kept, ended) = (open_session(&disk), open_session(&disk));
    let retained = |topic: &str, payload: &'static [u8]| {
        let (topic, payload) = (topic.parse().unwrap(), Bytes::from_static(payload).into());
        let publication = Publication { topic, payload, retain: true, ..(*publication("")).clone() };
        Op::Retain { publication: Arc::new(publication), version: 7.5 }
    };
    (1..=3).for_each(|seq| disk.order(enqueue(kept, seq)));
    disk.order(enqueue(ended, 1));
    disk.order(retained("gone", b"x"));
    assert!(disk.barrier().reached().await);

    storage.set_full(true);
    for seq in 4..=6 {
        disk.order(enqueue(kept, seq));
        assert!(!disk.barrier().reached().await, "nobody is told that it was stored");
        let StorageState::Failed { reason, .. } = disk.state() else { panic!("no failure was reported") };
        assert!(reason.contains("no space left"), "{reason}");
    }
    // Orders that are not repeated by a client.
    disk.order(Op::End { session: ended });
    disk.order(Op::Lifetime { session: kept, expiry_s: 7, ended_at: now() });
    disk.order(retained("gone", b""));
    disk.order(retained("new", b"y"));
    assert!(disk.page(kept, (0, u64::MAX), 10, ConnectionId::for_tests(1)).await.is_none());

    storage.set_full(false);
    until_writable(&disk).await;
    assert_eq!(stored(&disk, kept).await, [1, 2, 3], "what was committed is there");
    disk.order(enqueue(kept, 7));
    assert!(disk.barrier().reached().await);
    let (disk, found) = storage.after_kill().open(LIMITS).unwrap();
    assert_eq!(stored(&disk, kept).await, [1, 2, 3, 7]);
    assert_eq!(found.sessions.iter().map(|session| (session.id, session.expiry_s)).collect::<Vec<_>>(), [(kept, 7)]);
    assert_eq!(
        found.retained.iter().map(|(message, at)| (message.topic.as_str(), *at)).collect::<Vec<_>>(),
        [("new", 7.5)]
    );
}

#[tokio::test]
async fn a_refused_message_is_not_stored_beside_its_repeat() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    let session = open_session(&disk);
    disk.order(enqueue(session, 1));
    disk.order(Op::Received { session, id: 4 });
    assert!(disk.barrier().reached().await);

    storage.set_syncs_fail(true);
    disk.order(enqueue(session, 2));
    disk.order(Op::Received { session, id: 5 });
    assert!(!disk.barrier().reached().await, "the publisher is told that it was not stored");
    let found = storage.after_kill().open(LIMITS).unwrap().1;
    assert_eq!(found.sessions[0].last_seq, 2, "the commit reached the disk before its sync failed");
    storage.set_syncs_fail(false);
    until_writable(&disk).await;

    assert_eq!(stored(&disk, session).await, [1]);
    disk.order(enqueue(session, 3));
    assert!(disk.barrier().reached().await);
    let (disk, found) = storage.after_kill().open(LIMITS).unwrap();
    assert_eq!(stored(&disk, session).await, [1, 3], "the repeat is stored once");
    assert_eq!(found.sessions[0].received, [4], "the repeat has an id that the file does not hold");
}

#[tokio::test]
async fn the_limits_hold_after_a_failed_commit() {
    let limits = DiskLimits { messages_max: 4, ..LIMITS };
    let storage = TestDisk::default();
    let (disk, _) = storage.open(limits).unwrap();
    let session = open_session(&disk);
    (1..=2).for_each(|seq| disk.order(enqueue(session, seq)));
    assert!(disk.barrier().reached().await);
    storage.set_full(true);
    (3..=4).for_each(|seq| disk.order(enqueue(session, seq)));
    disk.order(Op::Forget { session, seq: 1 });
    assert!(!disk.barrier().reached().await);
    storage.set_full(false);
    until_writable(&disk).await;
    (5..=7).for_each(|seq| disk.order(enqueue(session, seq)));
    assert_eq!(stored(&disk, session).await, [2, 5, 6, 7], "four, and the one before them gave way");
}

#[tokio::test]
async fn the_thread_ends_with_its_last_handle_also_while_the_disk_is_full() {
    let storage = TestDisk::default();
    let (disk, _) = storage.open(LIMITS).unwrap();
    storage.set_full(true);
    open_session(&disk);
    assert!(!disk.barrier().reached().await);
    tokio::time::timeout(DEADLINE, disk.close()).await.unwrap();
    let (disk, _) = storage.after_kill().open(LIMITS).unwrap();
    drop(disk);
}

/// A file with sessions, messages and retained messages, cleanly closed.
async fn sound_file(path: &Path) -> SessionId {
    let (disk, _) = Disk::open(Some(path), LIMITS).unwrap();
    let session = open_session(&disk);
    for seq in 1..=80 {
        let publication = Publication { payload: Bytes::from(vec![b'x'; 900]).into(), ..(*publication("")).clone() };
        let entry = Entry {
            seq,
            publication: Arc::new(publication),
            qos: QoS::AtLeastOnce,
            retain: false,
            released: false,
            published_at: now(),
        };
        disk.order(Op::Enqueue { session, entry, own: false });
        disk.order(Op::Received { session, id: seq as u16 });
    }
    disk.close().await;
    session
}

#[tokio::test]
async fn damage_is_reported_and_never_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, path) = (folder.path().join("sound"), folder.path().join("sessions.redb"));
    let session = sound_file(&sound).await;
    let bytes = std::fs::read(&sound).unwrap();
    let mut damaged = Vec::new();
    // A bit in each of many places, including the header; a truncated file; a file with other content.
    for at in (0..320).chain((0..200).map(|part| bytes.len() / 200 * part + part)) {
        let mut copy = bytes.clone();
        copy[at] ^= 0x10;
        damaged.push((format!("bit at {at}"), copy));
    }
    for length in [0, 1, 100, 4096, bytes.len() / 2, bytes.len() - 1] {
        damaged.push((format!("{length} bytes"), bytes[..length].to_vec()));
    }
    damaged.push(("text".into(), b"this is no database".repeat(1000)));
    damaged.push(("zeros".into(), vec![0; bytes.len()]));
    let mut refused = 0;
    for (what, copy) in damaged {
        std::fs::write(&path, copy).unwrap();
        match Disk::open(Some(&path), LIMITS) {
            Ok((disk, found)) => {
                // The bit was in an unused page.
                assert_eq!(found.sessions.len(), 1, "{what}");
                assert_eq!(found.sessions[0].received.len(), 80, "{what}");
                assert_eq!(stored(&disk, session).await.len(), 80, "{what}");
                disk.close().await;
            }
            Err(error @ DiskError::Damaged { .. }) => {
                let text = error.to_string();
                assert!(!text.contains('\n') && text.contains("sessions.redb is damaged"), "{what}: {text}");
                assert!(text.contains("'toyhub restore'") && text.contains("'toyhub doctor --repair'"), "{text}");
                refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert!(refused > 20, "{refused}");
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_and_a_sound_one_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    assert_eq!(repair(&path), Ok(Repaired::Made));
    std::fs::remove_file(&path).unwrap();
    sound_file(&path).await;
    assert_eq!(repair(&path), Ok(Repaired::Sound));
    std::fs::write(&path, b"").unwrap();
    assert!(Disk::open(Some(&path), LIMITS).is_err(), "it was not always empty");
    let Ok(Repaired::PutAside(aside)) = repair(&path) else { panic!("not put aside") };
    assert!(aside.display().to_string().contains("sessions.redb.damaged-"));
    assert_eq!(std::fs::read(&aside).unwrap(), b"");
    let (_disk, found) = Disk::open(Some(&path), LIMITS).unwrap();
    assert!(found.sessions.is_empty());
    assert!(matches!(repair(&path), Err(DiskError::Unusable(_))), "a hub uses it");
}

#[tokio::test]
async fn damage_found_later_stops_neither_the_thread_nor_the_hub() {
    let limits = DiskLimits { cache_bytes: 0, messages_max: 1000, bytes_max: 1 << 20, ..LIMITS };
    let storage = TestDisk::default();
    let (disk, _) = storage.open(limits).unwrap();
    let session = open_session(&disk);
    (1..=500).for_each(|seq| disk.order(enqueue(session, seq)));
    assert!(disk.barrier().reached().await);
    storage.0.lock().unwrap().bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0xa5);
    assert!(disk.page(session, (0, u64::MAX), 1000, ConnectionId::for_tests(1)).await.is_none());
    let StorageState::Failed { reason, .. } = disk.state() else { panic!("no failure was reported") };
    assert!(reason.contains("damaged"), "{reason}");
    disk.order(enqueue(session, 501));
    assert!(!disk.barrier().reached().await);
    tokio::time::timeout(DEADLINE, disk.close()).await.unwrap();
}
