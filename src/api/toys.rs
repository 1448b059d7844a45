//! Devices and toys.

use serde_json::Value;

use super::accounts::UnreadCounts;
use super::answer::{Code, File, Id, Key, Kind, Nothing, Shown, answer, one_of, words};
use super::request::{Field, Given, Presence, Text, missing, request};
use super::rest::Flag;
use super::{Authority, Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::domain::{Binding, Opened};
use crate::model::{self, DeviceKey, DeviceName, Party, Secret, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "toys",
    about: "Devices and toys.",
    calls: &[
        Entry::of::<ScanQr>(),
        Entry::of::<BindToy>(),
        Entry::of::<ToyList>(),
        Entry::of::<OpenToy>(),
        Entry::of::<ToyProfile>(),
        Entry::of::<LetIn>(),
        Entry::of::<OnlyToken>(),
    ],
};

request! {
    /// Reports whether a device can be bound. For a bound device the answer is code 2, with its toy.
    struct ScanQr {
        /// The text of the QR picture, or the six digits that a device with stock firmware shows.
        device_key: DeviceName,
    }
}

impl Call for ScanQr {
    const FACTS: Facts = Facts::new("scan_qr", Permitted::Anybody, "Successful Scanning of Two-Dimensional Code");
    type Answer = Scanned;

    async fn handle(self, context: &CallContext) -> Result<Scanned, DomainError> {
        context.anybody().await?;
        let key = context.hub.scan(self.device_key, context.from).await?;
        Ok(Scanned { device_key: (&key).into() })
    }
}

request! {
    /// Binds a device: it becomes a toy of the user, and the two become friends.
    struct BindToy {
        /// The toy's name.
        toy_name: String,
        /// The child's name.
        baby_name: String,
        /// The toy's remark for the user.
        remark: String,
        /// The owner.
        caller as "user_id": CallerId<UserId>,
        /// The text of the QR picture, or the six digits that a device with stock firmware shows.
        device_key: DeviceName,
        /// The code of an invitation. Added.
        invite: Option<Secret>,
        /// The version of the text of `consent_text` that the user has agreed to. Default: the current version. Added.
        consent: Option<String>,
    }
}

impl Call for BindToy {
    const FACTS: Facts = Facts::new("bind_toy", Permitted::Named, "Binding Completion");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let binding = Binding {
            user: context.acting(self.caller).await?,
            toy_name: self.toy_name,
            baby_name: self.baby_name,
            remark: self.remark,
            device: self.device_key,
            invite: self.invite,
            consent: self.consent,
        };
        context.hub.bind_toy(binding, context.from, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The user's toys with their address books.
    struct ToyList {
        /// The user or toy that the request is made for.
        caller as "_id": CallerId<UserId>,
    }
}

impl Call for ToyList {
    const FACTS: Facts = Facts::new("toy_list", Permitted::Named, "Obtain Toy list");
    type Answer = Vec<Toy>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Toy>, DomainError> {
        let user = context.acting(self.caller).await?;
        Ok(context.hub.toys(&user).await?.into_iter().map(Toy::from).collect())
    }
}

request! {
    /// Reports that a device has started. The answer always contains a sound to play. A toy on its own connection omits
    /// the key.
    struct OpenToy {
        /// The device.
        device_key: Presented,
    }
}

impl Call for OpenToy {
    const FACTS: Facts = Facts::bare("open_toy", Permitted::Anybody);
    type Answer = OpenedToy;

    async fn handle(self, context: &CallContext) -> Result<OpenedToy, DomainError> {
        let opened = match (&context.authority, self.device_key) {
            (Authority::Party(Party::Toy(toy)), _) => context.hub.open_own(toy).await?,
            (_, Presented::Nothing) => return Err(missing("device_key")),
            (_, Presented::NoKey) => Opened::Unknown,
            (_, Presented::Key(key)) => {
                context.hub.open_toy(&key, context.token().ok(), context.from, context.now).await?
            }
        };
        Ok(opened.into())
    }
}

request! {
    /// Sets that all calls for the user, or for a toy of the user, need a token, also at its places. This closes the
    /// connections of the user or toy. Added.
    struct OnlyToken {
        /// The user, or a guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy. Absent for the user.
        toy as "toy_id": Option<ToyId>,
        /// `true` or `1` permits calls without a token again.
        withdraw: Flag,
    }
}

impl Call for OnlyToken {
    const FACTS: Facts = Facts::new("only_token", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.want_only_tokens(&user, self.toy.as_ref(), !self.withdraw.0).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The toy's own profile, with the numbers of unread messages. Added.
    struct ToyProfile {
        /// The toy.
        caller as "toy_id": CallerId<ToyId>,
    }
}

impl Call for ToyProfile {
    const FACTS: Facts = Facts::new("toy_profile", Permitted::Named, "done");
    type Answer = OwnProfile;

    async fn handle(self, context: &CallContext) -> Result<OwnProfile, DomainError> {
        let toy = context.acting(self.caller).await?;
        let (toy, friends) = context.hub.toy_profile(&toy).await?;
        Ok(OwnProfile {
            id: (&toy.id).into(),
            bind_user: (&toy.bind_user).into(),
            toy_name: toy.toy_name,
            avatar: (&toy.avatar).into(),
            baby_name: toy.baby_name,
            gender: toy.gender,
            chat: UnreadCounts::of(&friends),
        })
    }
}

request! {
    /// Allows an own toy that knows only its device key to open once at a new address, within the next minutes. Added.
    struct LetIn {
        /// The owner.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
    }
}

impl Call for LetIn {
    const FACTS: Facts = Facts::new("let_in", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let owner = context.acting(self.caller).await?;
        context.hub.let_toy_in(Some(&owner), &self.toy, context.now).await?;
        Ok(Nothing {})
    }
}

/// The key that a starting device presents. A malformed key gets the answer of an unknown key, which contains a sound.
enum Presented {
    Nothing,
    NoKey,
    Key(DeviceKey),
}

impl Field for Presented {
    const PRESENCE: Presence = Presence::Unconnected;

    fn schema() -> Value {
        <DeviceKey as Text>::schema()
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        let Some(text) = given.text(name) else { return Ok(Self::Nothing) };
        Ok(DeviceKey::parse_lenient(&text).map_or(Self::NoKey, Self::Key))
    }
}

answer! {
    /// The answer of `/scan_qr`.
    pub struct Scanned {
        /// A device that can be bound.
        device_key: Key,
    }
}

answer! {
    /// An entry of `/toy_list`.
    pub struct Toy as "Toy" {
        /// The toy.
        id as "_id": Id,
        /// The device that it runs on.
        device_key: Key,
        /// Its owner.
        bind_user: Id,
        /// Its name.
        toy_name: String,
        /// A picture of /get_image/.
        avatar: File,
        /// The child's name.
        baby_name: String,
        /// The owner's gender.
        gender: String,
        /// Its address book.
        friend_list: Vec<ToysFriend>,
    }
}

impl From<(model::Toy, Vec<model::Friend>)> for Toy {
    fn from((toy, friends): (model::Toy, Vec<model::Friend>)) -> Self {
        Self {
            id: (&toy.id).into(),
            device_key: (&toy.device_key).into(),
            bind_user: (&toy.bind_user).into(),
            toy_name: toy.toy_name,
            avatar: (&toy.avatar).into(),
            baby_name: toy.baby_name,
            gender: toy.gender,
            friend_list: friends.into_iter().map(ToysFriend::from).collect(),
        }
    }
}

answer! {
    /// The answer of `/toy_profile`. The device's key is not in it: where no token is needed, knowing the id must not
    /// be enough to open the toy.
    pub struct OwnProfile {
        /// The toy.
        id as "_id": Id,
        /// Its owner.
        bind_user: Id,
        /// Its name.
        toy_name: String,
        /// A picture of /get_image/.
        avatar: File,
        /// The child's name.
        baby_name: String,
        /// The owner's gender.
        gender: String,
        chat: UnreadCounts,
    }
}

answer! {
    /// An entry of a toy's address book in `/toy_list`, which documents the remark as `friend_nickname`.
    pub struct ToysFriend as "ToysFriend" {
        /// The friend's name.
        friend_nickname: String,
        /// A picture of /get_image/.
        friend_avatar: File,
        /// The toy's remark for the friend.
        friend_remark: String,
        /// The chat of the two parties.
        friend_chat: Id,
        /// The friend. Added.
        friend_id: Id,
        /// Equal to friend_nickname. Added.
        friend_nick: String,
        /// The friend's kind. Added.
        friend_type: Kind,
        /// The number of messages of this friend that the toy has not read. Added.
        unread: u64,
        /// Whether the toy has muted the friend. Missing where it has not. Added.
        muted: Option<bool>,
    }
}

impl From<model::Friend> for ToysFriend {
    fn from(friend: model::Friend) -> Self {
        Self {
            friend_nickname: friend.nickname.clone(),
            friend_avatar: (&friend.avatar).into(),
            friend_remark: friend.remark,
            friend_chat: (&friend.chat).into(),
            friend_id: (&friend.party).into(),
            friend_nick: friend.nickname,
            friend_type: Kind(friend.party.kind()),
            unread: friend.unread,
            muted: friend.is_muted.then_some(true),
        }
    }
}

words! {
    Success = "Success.mp3";
    Nobind = "Nobind.mp3";
    Nolic = "Nolic.mp3";
}

answer! {
    /// The device is bound.
    pub struct Bound {
        code: Code<0>,
        /// The sound to play, of /get_music/.
        music: Success,
        /// The toy of the device.
        toy_id: Id,
        /// The toy's name.
        name: String,
        /// The toy's token. Only for a toy that presented its device's secret. Added.
        token: Option<Shown>,
    }
}

answer! {
    /// No device has this key, or its toy is not permitted at this address.
    pub struct Unknown {
        code: Code<1>,
        /// Not authorized.
        music: Nobind,
    }
}

answer! {
    /// The device is not bound.
    pub struct Unbound {
        code: Code<2>,
        /// Not bound yet.
        music: Nolic,
    }
}

one_of! {
    /// The answer of `/open_toy`, in its three documented shapes.
    pub enum OpenedToy as "OpenedToy" { Bound, Unknown, Unbound, }
}

impl From<Opened> for OpenedToy {
    fn from(opened: Opened) -> Self {
        match opened {
            Opened::Bound { toy, token } => Self::Bound(Bound {
                code: Code,
                music: Success,
                toy_id: (&toy.id).into(),
                name: toy.toy_name,
                token: token.as_ref().map(Shown::from),
            }),
            Opened::NotLetIn | Opened::Unknown => Self::Unknown(Unknown { code: Code, music: Nobind }),
            Opened::Unbound => Self::Unbound(Unbound { code: Code, music: Nolic }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toy_that_opens_plays_the_documented_sounds() {
        let text = |opened: Opened| serde_json::to_string(&OpenedToy::from(opened)).unwrap();
        assert_eq!(text(Opened::Unbound), r#"{"code":2,"music":"Nolic.mp3"}"#);
        assert_eq!(text(Opened::Unknown), r#"{"code":1,"music":"Nobind.mp3"}"#);
        let toy = || model::Toy {
            id: "5c8f5853268d7942f44c6705".parse().unwrap(),
            device_key: "bc557bcc9570069a494a64eb38698d35".parse().unwrap(),
            bind_user: "5c8f582f268d7942f44c6703".parse().unwrap(),
            toy_name: "Ball \"ball\"".into(),
            baby_name: String::new(),
            gender: "1".into(),
            avatar: "toy.jpg".parse().unwrap(),
        };
        assert_eq!(
            text(Opened::Bound { toy: toy(), token: Some(Secret::new("t")) }),
            r#"{"code":0,"music":"Success.mp3","toy_id":"5c8f5853268d7942f44c6705","name":"Ball \"ball\"","token":"t"}"#
        );
        assert_eq!(
            text(Opened::Bound { toy: toy(), token: None }),
            r#"{"code":0,"music":"Success.mp3","toy_id":"5c8f5853268d7942f44c6705","name":"Ball \"ball\""}"#
        );
    }
}
