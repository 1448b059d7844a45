//! The access paths of all queries: none scans a table that grows.

use super::*;

/// Every SELECT of the store's texts, with the spaces of one line.
fn selects() -> Vec<String> {
    let texts = [
        include_str!("../accounts.rs"),
        include_str!("../asked.rs"),
        include_str!("../chats.rs"),
        include_str!("../content.rs"),
        include_str!("../friends.rs"),
        include_str!("../household.rs"),
        include_str!("../mend.rs"),
        include_str!("../receipts.rs"),
        include_str!("../requests.rs"),
        include_str!("../rest.rs"),
        include_str!("../retained.rs"),
        include_str!("../sessions.rs"),
        include_str!("../streams.rs"),
        include_str!("../tickets.rs"),
        include_str!("../toys.rs"),
        include_str!("../unread.rs"),
        include_str!("../schema.surql"),
    ];
    let mut found = vec![rows::BY_ID.to_owned(), joined::BOOKS[0].to_owned()];
    for (start, text) in texts.iter().flat_map(|text| text.match_indices("SELECT ").map(move |(at, _)| (at, text))) {
        let mut depth = 0;
        let end = text[start..].find(|c: char| {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            depth < 0 || c == ';' || c == '"'
        });
        let select = &text[start..start + end.unwrap()];
        found.push(select.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    found
}

/// The engine's plan for a query, with example values for its variables.
async fn plan(store: &Store, select: &str) -> String {
    // The store takes fixed texts only; a test may leak some.
    let text: &'static str = format!("EXPLAIN {select}").leak();
    let mut variables = Variables::new();
    for rest in text.split('$').skip(1) {
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
        match name {
            "entry" | "message" | "request" | "row" => {
                variables.insert(name, surrealdb::types::object! { chat: "c", friend: "f", device_key: "k" });
            }
            "id" => variables.insert(name, transaction::record("x", "x")),
            // A range for pairs of texts serves as well as one for numbers.
            "keys" | "k0" => variables.insert(name, transaction::keys_of("x")),
            "ids" => variables.insert(name, vec![transaction::record("x", "x"), transaction::record("y", "x")]),
            "sounds" | "answerers" | "others" => variables.insert(name, vec!["x".to_owned()]),
            "since" => variables.insert(name, 1.0),
            "first" | "last" | "next" | "until" | "up_to" | "seq" | "limit" | "keep" => variables.insert(name, 1i64),
            _ => variables.insert(name, "x"),
        }
    }
    store.run(text, variables).await.unwrap().optional::<String>(0).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_lists_and_the_start_scan_whole_tables() {
    const WHOLE: [&str; 5] = [
        "FROM user WHERE id >",
        "FROM user ORDER",
        "FROM device ORDER",
        "FROM content ORDER",
        "FROM toy WHERE time_zone",
    ];
    /// A range of keys of the table. The engine looks it up, as it does a single record.
    const RANGE: &str = "['x', '']..['x', '~'])]";
    const HOT: [(&str, &str); 9] = [
        ("* FROM type::record('friend', $k0)", RANGE),
        ("* FROM ONLY $id", "RecordIdScan [ctx: Db] [record_id: x:x]"),
        ("FROM $ids", "Values [ctx: Rt] [expr: $ids]"),
        ("FROM type::record('message', $keys) LIMIT", RANGE),
        ("FROM type::record('friend', $keys) WHERE", RANGE),
        ("FROM type::record('event', $keys)", RANGE),
        ("FROM type::record('retained', $keys)", RANGE),
        ("FROM message WHERE uid = $uid", "IndexScan [ctx: Db] [table: message, index: message_uid,"),
        ("FROM message WHERE sound = $sound", "IndexScan [ctx: Db] [table: message, index: message_sound,"),
    ];
    let store = in_memory().await;
    let mut plans = Vec::new();
    for select in selects() {
        let plan = plan(&store, &select).await;
        let is_whole = WHOLE.iter().any(|text| select.contains(text));
        assert_eq!(plan.contains("TableScan"), is_whole, "{select}\n{plan}");
        // The target of an expression is only known when the query runs: single records, or a range of their keys.
        let dynamic = plan.lines().filter(|line| line.contains("Values [ctx"));
        let is_one =
            |line: &str| ["[expr: type::record(", "[expr: x:x]", "[expr: $ids]"].iter().any(|x| line.contains(x));
        assert!(dynamic.clone().all(is_one), "{select}\n{plan}");
        plans.push((select, plan));
    }
    for (text, access) in HOT {
        let found = plans.iter().filter(|(select, _)| select.contains(text)).collect::<Vec<_>>();
        assert!(!found.is_empty(), "no query has {text}");
        assert!(found.iter().all(|(_, plan)| plan.contains(access)), "{text}: {found:?}");
    }
    assert!(plans.len() > 40, "only {} queries were found", plans.len());
}
