//! Wrong clocks: the hub's clock is set back an hour and forward a year, while it runs and between two runs.
//! libfaketime changes the time that the program reads; timers are not affected.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::Client;

use crate::audit::{Cursor, list};
use crate::hub::Hub;
use crate::ledger::Way;
use crate::run::{Load, Run};

/// The offsets of the clock, one after the other.
const OFFSETS: [&str; 7] = ["+0", "-1h", "+0", "+1y", "+0", "-1h", "+1y"];
/// Nothing may expire within a year: 4000 days for tokens, the same in seconds for sessions.
const SETTINGS: [(&str, &str); 4] = [
    ("TOYHUB_ACCOUNTS__TOKEN_TTL_DAYS", "4000"),
    ("TOYHUB_MQTT__SESSION_EXPIRY_MAX_S", "345600000"),
    ("TOYHUB_MQTT__SESSION_MESSAGE_AGE_MAX_S", "345600000"),
    ("TOYHUB_CHUNKS__UPLOAD_AGE_MAX_S", "345600000"),
];
/// Pages of these sizes must return each message once.
const PAGES: [usize; 3] = [1, 5, 50];

pub async fn torment(program: &Path, parent: &Path, faketime: &Path, each: Duration) -> Result<bool> {
    if !faketime.exists() {
        println!("clock: skipped, {} is not there (package faketime)", faketime.display());
        return Ok(true);
    }
    let folder = tempfile::Builder::new().prefix("toyhub-clock-").tempdir_in(parent)?;
    let clock = folder.path().join("clock");
    let set = |offset: &str| std::fs::write(&clock, offset);
    set("+0")?;
    let mut hub = Hub::new(program, folder.path(), &SETTINGS);
    hub.fake_clock(faketime);
    hub.set("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap_or_default());
    hub.set("FAKETIME_NO_CACHE", "1");
    let mut run = Run::open_in(hub, 2).await?;
    run.send(Load { lanes: 1, pause: Duration::ZERO }, &Way::ALL);
    for (number, offset) in OFFSETS.into_iter().enumerate() {
        // While it runs, and then while it does not.
        set(offset)?;
        tokio::time::sleep(each).await;
        run.read_all(false).await?;
        if number % 2 == 0 {
            run.kill().await?;
        } else {
            run.stop().await?;
        }
        set(OFFSETS[(number + 3) % OFFSETS.len()])?;
        run.start().await?;
        tokio::time::sleep(each).await;
        run.read_all(false).await?;
        eprintln!("clock {offset}: {} accepted", run.ledger.accepted());
    }
    pages_agree(&mut run).await?;
    run.finish().await
}

/// Pages of every size return the same messages, each once.
async fn pages_agree(run: &mut Run) -> Result<()> {
    let (addresses, client) = (run.running()?.addresses, Client::new());
    let held = run.gate.pause().await;
    // The user reads these pages: unread messages are counted first.
    run.audit.read_all(addresses, false).await;
    let family = &run.families[0];
    let whole = list(&client, addresses, family, Cursor::Number, 500).await?;
    if whole.is_empty() {
        bail!("the chat is empty");
    }
    for cursor in [Cursor::Number, Cursor::Time] {
        for limit in PAGES {
            let paged = match list(&client, addresses, family, cursor, limit).await {
                Ok(paged) => paged,
                Err(error) => {
                    run.ledger.fault(format!("pages of {limit} by {cursor:?}: {error:#}"));
                    continue;
                }
            };
            let (count, there) = (paged.len(), whole.len());
            println!("clock: a chat of {there} messages, read in pages of {limit} by {cursor:?}: {count} messages");
            if paged != whole {
                run.ledger.fault(format!("pages of {limit} by {cursor:?} give {count} messages of {there}"));
            }
        }
    }
    drop(held);
    Ok(())
}
