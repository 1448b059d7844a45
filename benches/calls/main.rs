//! The rates of the calls that clients make most, over HTTP, and of voice messages, each accepted and synced.
//!
//! The first argument is the hub's program. Another program, of another version, is measured in the same run, and the
//! last column is the ratio to it. Without one, it is the ratio to the hub's own `/healthz`, which does nothing, and voice
//! messages are compared with the limit that codec and sync permit. `quick` makes everything ten times shorter; `voice`
//! leaves out all calls but voice messages. Each recording is different, and may be sent again (`chats.retry_window_s`),
//! as in a family.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/hub/amr.rs"]
mod amr;
#[path = "../hub/mod.rs"]
mod hub;
mod load;
#[path = "../hub/phase.rs"]
mod phase;
#[path = "../hub/table.rs"]
mod table;
mod voice;

use std::time::Duration;

use hub::Hub;
use load::Request;
use phase::Phase;
use serde_json::json;
use table::Better;
use voice::Stages;

/// Connections that make the same call at the same time.
const CONNECTIONS: usize = 16;
/// Toys that send voice messages at the same time, at most.
const SENDERS: usize = 2 * CONNECTIONS;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "quick");
    let programs: Vec<&String> =
        arguments.iter().filter(|argument| !["quick", "voice"].contains(&argument.as_str())).collect();
    let time = Duration::from_millis(if quick { 300 } else { 3000 });
    let (ours, peer) = (programs.first().expect("the hub's program"), programs.get(1));
    let only_voice = arguments.iter().any(|argument| argument == "voice");
    let (mut rates, stages) = measure(ours, time, only_voice).await;
    let theirs = match peer {
        Some(program) => Some(measure(program, time, only_voice).await),
        None => None,
    };
    let theirs = theirs.map(|(mut theirs, their_stages)| {
        println!("the peer:");
        voice::print(&their_stages);
        println!("\ntoyhub:");
        rates.extend(voice::rates(&stages));
        theirs.extend(voice::rates(&their_stages));
        theirs
    });
    voice::print(&stages);
    if theirs.is_none() {
        voice::record(&stages);
    }
    println!();
    print(&rates, theirs.as_deref());
}

/// A call, with its answers in a second.
type Rate = (String, f64);

async fn measure(program: &str, time: Duration, only_voice: bool) -> (Vec<Rate>, Vec<Stages>) {
    eprintln!("{program} …");
    let settings = [
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000000".to_owned()),
        ("TOYHUB_RATES__REQUESTS_PER_PARTY_PER_MINUTE", "1000000".to_owned()),
        ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "10000".to_owned()),
        ("TOYHUB_CHATS__RETRY_WINDOW_S", "600".to_owned()),
    ];
    let hub = Hub::start(program.to_owned(), &settings);
    let [user, toy, ..] = hub.family().await;
    let mut rates = Vec::new();
    let calls = [
        ("/healthz", None),
        ("/content_list", Some(json!({}))),
        ("/friend_list", Some(json!({"_id": user}))),
        ("/auto_login", Some(json!({"_id": user}))),
        ("/toy_list", Some(json!({"_id": user}))),
        ("/recv_msg", Some(json!({"from_user": user, "to_user": toy}))),
    ];
    let calls = if only_voice { &calls[..1] } else { &calls };
    for (path, body) in calls {
        let request = Request::of(path, body.as_ref());
        let _phase = Phase::begin(path, hub.id());
        rates.push(((*path).to_owned(), load::rate(hub.http, &vec![request; CONNECTIONS], time).await));
    }
    let mut families = vec![[user, toy]];
    for number in 1..SENDERS {
        let [user, toy, ..] = hub.family_of(&format!("user{number}")).await;
        families.push([user, toy]);
    }
    let stages = voice::measure(&hub, &families, time).await;
    (rates, stages)
}

fn print(ours: &[Rate], peer: Option<&[Rate]>) {
    let named = if peer.is_some() { "peer" } else { "/healthz" };
    println!("{:44}{:>12}{:>12}{:>10}", "answers/s", "toyhub", named, "ratio");
    for (at, (name, rate)) in ours.iter().enumerate() {
        let other = peer.map_or(ours[0].1, |peer| peer[at].1);
        table::record("calls", name, Better::More, *rate, named, other);
        println!("{name:44}{rate:>12.1}{other:>12.1}{:>9.2}×", rate / other);
    }
}
