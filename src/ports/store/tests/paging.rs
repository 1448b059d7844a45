//! Pages of a long chat, with changes of the clock while it grew.

use super::*;

const MESSAGES: u64 = 10_000;
/// Messages at each end of the chat that are sent one by one.
const ENDS: u64 = 30;
const HOUR: f64 = 3600.0;
const YEAR: f64 = 365.0 * 24.0 * HOUR;

/// The cursor that a client pages with.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    Time,
    Number,
}

/// Pages back from number `from` to number `to`: the numbers in the order in which they came.
async fn pages(
    store: &Store,
    reader: &Party,
    chat: &ChatId,
    limit: usize,
    cursor: Cursor,
    (from, to): (u64, u64),
) -> Vec<u64> {
    let (mut before, mut numbers) = (Before { time: None, seq: Some(from + 1) }, Vec::new());
    while numbers.last().is_none_or(|last| *last > to) {
        let (page, _) = store.read_chat(reader, chat, limit, before).await.unwrap();
        let Some((oldest, _)) = page.first() else { break };
        before = match cursor {
            // The time goes to the client and comes back as JSON.
            Cursor::Time => {
                let time = serde_json::to_string(&oldest.created_at).unwrap();
                Before { time: Some(serde_json::from_str(&time).unwrap()), seq: None }
            }
            Cursor::Number => Before { time: None, seq: Some(oldest.seq) },
        };
        numbers.extend(page.iter().rev().map(|(message, _)| message.seq));
    }
    numbers.retain(|number| *number >= to);
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_of_ten_thousand_is_paged_without_gap_or_repeat_after_the_clock_went_back_and_forth() {
    let store = Arc::new(in_memory().await);
    let mia = user(&store).await;
    let fluffy = toy(&store, &mia).await;
    let chat = store.friend(&mia, &id_of(&fluffy)).await.unwrap().unwrap().chat;
    let send_one = async |number: u64, now: f64| {
        let (from, to) = if number.is_multiple_of(3) { (&fluffy, &mia) } else { (&mia, &fluffy) };
        send(&store, from, to, now).await;
    };
    let mut now = 1_760_000_000.123_456_7;
    for number in 1..=ENDS {
        now += if number == 20 { -HOUR } else { 0.001_3 };
        send_one(number, now).await;
    }
    // Those in the middle are created in one statement.
    let between = format!(
        "FOR $n IN {}..={} {{ CREATE type::record('message', ['{chat}', $n]) SET uid = 'aaaaa' + <string> (1000000000000000000 + $n), \
         chat = '{chat}', seq = $n, sender = '{}', kind = 'app', \
         sound = <string> $n + '.mp3', notice = NONE, created_at = 1760000100f + $n * 0.37f }}",
        ENDS + 1,
        MESSAGES - ENDS,
        mia.id()
    );
    store.run(between.leak(), Variables::new()).await.unwrap();
    store.mend_chat(chat.as_str(), mia.id(), fluffy.id()).await.unwrap();
    let mut now = 1_760_000_100.0 + MESSAGES as f64;
    for number in MESSAGES - ENDS + 1..=MESSAGES {
        now += match MESSAGES - number {
            25 => YEAR,
            20 => -YEAR - HOUR,
            // The same moment, to the last bit of the clock.
            0..10 => 0.0,
            _ => 0.001_3,
        };
        send_one(number, now).await;
    }
    let (all, _) = store.read_chat(&mia, &chat, LIMIT, Before::default()).await.unwrap();
    assert_eq!(all.iter().map(|(message, _)| message.seq).collect::<Vec<_>>(), (1..=MESSAGES).collect::<Vec<_>>());
    assert!(all.is_sorted_by(|(a, _), (b, _)| a.created_at < b.created_at), "times rise with the numbers");

    // In small pages only where the clock jumped: the whole in these takes a minute.
    let (new, old) = ((MESSAGES, MESSAGES - 2 * ENDS), (2 * ENDS, 1));
    for (limit, spans) in [(50, vec![(MESSAGES, 1)]), (5, vec![new, old]), (1, vec![new, old])] {
        for cursor in [Cursor::Time, Cursor::Number] {
            for (from, to) in &spans {
                let numbers = pages(&store, &mia, &chat, limit, cursor, (*from, *to)).await;
                let expected: Vec<u64> = (*to..=*from).rev().collect();
                assert_eq!(numbers, expected, "{cursor:?} {limit}");
            }
        }
    }
}
