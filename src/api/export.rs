//! Export of a family's data as one ZIP: the call that permits it, and the content of the archive.
//!
//! `family.json` has the user with the push subscriptions, the toys with their reminders, the address books and the requests; `chats/<chat>.jsonl` the messages, one on a
//! line; `words/<toy>.jsonl` the kept words of its child; `sounds/` and `pictures/` the files that they name.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use super::answer::{Shown, answer};
use super::request::{Password, request};
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::domain::export::{Archive, stream};
use crate::domain::{Counter, FileKind, Hub, Progress, Unit};
use crate::model::{ChatId, FileName, Friend, Secret, Timestamp, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject =
    Subject { name: "export", about: "Export of a family's data as one ZIP.", calls: &[Entry::of::<Export>()] };

/// Entries of kept words that are read at once.
const WORDS_PAGE: usize = 500;

/// The path at which the archive is fetched, with its ticket for `{name}`.
pub const PATH: &str = "/get_export/{name}";

request! {
    /// Issues a ticket to download all data of the user and of the user's toys as one ZIP. It is valid once, for a
    /// short time. Requires the password. Added.
    struct Export {
        /// The user.
        caller as "_id": CallerId<UserId>,
        /// The password.
        password: Password,
    }
}

impl Call for Export {
    const FACTS: Facts = Facts::new("export", Permitted::Named, "done");
    type Answer = Allowed;

    async fn handle(self, context: &CallContext) -> Result<Allowed, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.check_password_of(&user, self.password.0, context.from, context.now).await?;
        context.hub.note_export(&user, Some(&user), context.now).await;
        Ok(Allowed { ticket: (&context.hub.issue_export(&user, context.now)).into() })
    }
}

answer! {
    /// The answer of `export`.
    pub struct Allowed {
        /// The name of the archive under /get_export/. It can be fetched once, within `ws.ticket_ttl_s`.
        ticket: Shown,
    }
}

/// The archive of a ticket, written while it is read. Errors: `Unauthorized`, `Erased`, `Busy`.
pub async fn fetch(
    hub: &Arc<Hub>,
    ticket: &Secret,
    now: Timestamp,
) -> Result<BoxStream<'static, io::Result<Bytes>>, DomainError> {
    let user = hub.take_export(ticket, now)?;
    open(hub, user, &Progress::unwatched(), now).await
}

/// The archive of a user, written while it is read. Errors: `UnknownParty`, `Erased`, `Busy`.
pub async fn open(
    hub: &Arc<Hub>,
    user: UserId,
    progress: &Progress,
    now: Timestamp,
) -> Result<BoxStream<'static, io::Result<Bytes>>, DomainError> {
    let place = hub.export_place()?;
    let family = family(hub, &user, now).await?;
    let (hub, progress) = (Arc::clone(hub), progress.clone());
    Ok(stream(|archive| async move {
        let _place = place;
        write(&hub, &user, archive, family, &progress).await
    }))
}

/// `family.json`, and the pictures that it names.
async fn family(hub: &Hub, user: &UserId, now: Timestamp) -> Result<(Value, BTreeSet<FileName>), DomainError> {
    let profile = hub.profile(user).await?;
    let toys = hub.toys(user).await?;
    let mut pictures = BTreeSet::from([profile.user.avatar.clone()]);
    let mut book = |friends: &[Friend]| -> Vec<Value> {
        pictures.extend(friends.iter().map(|friend| friend.avatar.clone()));
        let entry = |friend: &Friend| {
            json!({
                "id": friend.party.id(), "kind": friend.party.kind().as_str(), "name": friend.nickname,
                "remark": friend.remark, "picture": friend.avatar.as_str(), "chat": friend.chat.as_str(),
            })
        };
        friends.iter().map(entry).collect()
    };
    let own = book(&profile.friends);
    let mut of_toys = Vec::with_capacity(toys.len());
    for (toy, friends) in &toys {
        let reminders = hub.reminders(Some(user), &toy.id).await?;
        let reminders = reminders
            .iter()
            .map(|reminder| json!({"time": reminder.due, "kind": reminder.kind.as_str(), "words": reminder.words.0}));
        of_toys.push(json!({
                "id": toy.id.as_str(), "device_key": toy.device_key.as_str(), "name": toy.toy_name,
                "child": toy.baby_name, "gender": toy.gender, "picture": toy.avatar.as_str(), "friends": book(friends),
            "reminders": reminders.collect::<Vec<_>>(),
        }));
    }
    pictures.extend(toys.iter().map(|(toy, _)| toy.avatar.clone()));
    let pushes = hub.pushes(user, now).await?;
    let pushes = pushes.iter().map(|push| json!({"endpoint": push.subscription.endpoint, "time": push.created_at}));
    let requests = hub.requests(user).await?;
    let requests = requests.iter().map(|request| {
        json!({
            "id": request.id.as_str(), "from": request.requester.id(), "to": request.requestee.id(),
            "name": request.nickname, "words": request.info, "remark": request.remark, "status": request.status as u8,
        })
    });
    let family = json!({
        "user": {
            "id": user.as_str(), "username": profile.user.username, "name": profile.user.nickname,
            "gender": profile.user.gender, "picture": profile.user.avatar.as_str(), "friends": own,
            "push": pushes.collect::<Vec<_>>(),
        },
        "toys": of_toys,
        "requests": requests.collect::<Vec<_>>(),
    });
    Ok((family, pictures))
}

async fn write(
    hub: &Hub,
    user: &UserId,
    mut archive: Archive,
    (family, pictures): (Value, BTreeSet<FileName>),
    progress: &Progress,
) -> Result<(), DomainError> {
    archive.begin("family.json")?;
    archive.write(format!("{family:#}").as_bytes()).await?;
    for picture in &pictures {
        hub.add_to_archive(&mut archive, &format!("pictures/{picture}"), FileKind::Image, picture).await?;
    }
    for toy in hub.toys(user).await?.into_iter().map(|(toy, _)| toy.id) {
        write_words(hub, user, &mut archive, &toy).await?;
    }
    let mut notices = BTreeSet::new();
    let chats = hub.family_chats(user).await?;
    let total = if progress.is_watched() { hub.messages_at_most(&chats).await? } else { 0 };
    let counter = progress.begin("exporting messages", Some(total), Unit::Items);
    for chat in &chats {
        write_chat(hub, user, &mut archive, chat, (&mut notices, &counter)).await?;
    }
    drop(counter);
    for notice in &notices {
        hub.add_to_archive(&mut archive, &format!("sounds/{notice}"), FileKind::Chat, notice).await?;
    }
    for recording in hub.kept_recordings(user).await? {
        hub.add_recording_to_archive(&mut archive, &recording).await?;
    }
    Ok(archive.finish().await?)
}

/// The kept words of a toy's child, newest first, if there are any.
async fn write_words(hub: &Hub, user: &UserId, archive: &mut Archive, toy: &ToyId) -> Result<(), DomainError> {
    let mut before = Timestamp::MAX;
    loop {
        let page = hub.kept_words(user, toy, before, WORDS_PAGE, Timestamp::MIN).await?;
        let Some(last) = page.last() else { return Ok(()) };
        if before == Timestamp::MAX {
            archive.begin(&format!("words/{toy}.jsonl"))?;
        }
        before = last.at;
        for kept in page {
            let line = json!({
                "time": kept.at, "words": kept.words, "action": kept.reaction.as_str(), "about": kept.about,
            });
            archive.write(format!("{line}\n").as_bytes()).await?;
        }
    }
}

/// The messages of a chat, then their recordings: an entry of an archive ends before the next one begins.
async fn write_chat(
    hub: &Hub,
    user: &UserId,
    archive: &mut Archive,
    chat: &ChatId,
    (notices, counter): (&mut BTreeSet<FileName>, &Counter),
) -> Result<(), DomainError> {
    archive.begin(&format!("chats/{chat}.jsonl"))?;
    let mut next = Some(1);
    while let Some(first) = next {
        let (page, following) = hub.chat_page(user, chat, first).await?;
        next = following;
        for message in page {
            let notice = message.notice.as_ref().map(FileName::as_str);
            let line = json!({
                "id": message.id.as_str(), "seq": message.seq, "from": message.sender.as_str(),
                "time": message.created_at, "sound": message.sound.as_str(), "notice": notice,
            });
            archive.write(format!("{line}\n").as_bytes()).await?;
            notices.extend(message.notice);
        }
    }
    let mut next = Some(1);
    while let Some(first) = next {
        let (page, following) = hub.chat_page(user, chat, first).await?;
        counter.add(following.map_or(0, |next| next - first));
        next = following;
        for message in page {
            let path = format!("sounds/{}", message.sound);
            hub.add_to_archive(archive, &path, FileKind::Chat, &message.sound).await?;
        }
    }
    Ok(())
}
