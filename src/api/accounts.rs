//! Users, and how they log in.

use serde::Serialize;
use serde_json::Value;

use super::answer::{File, Id, Nothing, Shape, Shown, answer};
use super::friends::Friend;
use super::request::{Password, request};
use super::schema::{self, Components, With};
use super::{Authority, Call, CallContext, CallerId, Entry, Facts, Permitted, ServedAt, Subject};
use crate::domain::error::DomainError;
use crate::domain::{Profile, Registration};
use crate::model::{self, FileName, Secret, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "accounts",
    about: "Users, and how they log in.",
    calls: &[
        Entry::of::<Reg>(),
        Entry::of::<Login>(),
        Entry::of::<AutoLogin>(),
        Entry::of::<Ticket>(),
        Entry::of::<ChangePassword>(),
    ],
};

request! {
    /// Registers a user.
    struct Reg {
        /// The name to log in with.
        username: String,
        password: Password,
        /// The name that is shown to others.
        nickname: String,
        /// "1" or "2".
        gender: Option<String>,
        /// A picture of /get_image/. The default depends on the gender.
        avatar: Option<FileName>,
        /// The code of an invitation. The code for a toy makes the new user a guardian of that toy at once. Added.
        invite: Option<Secret>,
    }
}

impl Call for Reg {
    // The message is the documented one.
    const FACTS: Facts = Facts::new("reg", Permitted::Anybody, "login was successful");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let registration = Registration {
            username: self.username,
            password: self.password.0,
            nickname: self.nickname,
            gender: self.gender.unwrap_or_default(),
            avatar: self.avatar,
            invite: self.invite,
        };
        context.hub.register(registration, context.from, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Logs a user in, with a token.
    struct Login {
        username: String,
        password: Password,
    }
}

impl Call for Login {
    const FACTS: Facts = Facts::new("login", Permitted::Anybody, "Successful login");
    type Answer = LoggedIn;

    async fn handle(self, context: &CallContext) -> Result<LoggedIn, DomainError> {
        let (profile, token) = context.hub.login(&self.username, self.password.0, context.from, context.now).await?;
        Ok(LoggedIn { profile: profile.into(), token: (&token).into() })
    }
}

request! {
    /// The profile of a user, with the numbers of unread messages.
    struct AutoLogin {
        /// The user or toy that the request is made for.
        caller as "_id": CallerId<UserId>,
    }
}

impl Call for AutoLogin {
    const FACTS: Facts = Facts::new("auto_login", Permitted::Named, "Successful login");
    type Answer = Returned;

    async fn handle(self, context: &CallContext) -> Result<Returned, DomainError> {
        let user = context.acting(self.caller).await?;
        let profile = context.hub.profile(&user).await?;
        // A client on a connection of its own gets its unread messages there.
        if let Authority::Token(_) = context.authority {
            context.hub.note_counted(&user, context.from, profile.counted_up_to);
        }
        let chat = UnreadCounts::of(&profile.friends);
        Ok(Returned { profile: profile.into(), chat })
    }
}

request! {
    /// Issues a ticket with which a web page opens /ws. It is valid once, for a short time.
    struct Ticket {}
}

impl Call for Ticket {
    const FACTS: Facts = Facts::new("ticket", Permitted::Token, "done").only_at(ServedAt::Http);
    type Answer = Issued;

    async fn handle(self, context: &CallContext) -> Result<Issued, DomainError> {
        let ticket = context.hub.issue_ticket(context.token()?, context.from.peer, context.now).await?;
        Ok(Issued { ticket: (&ticket).into() })
    }
}

request! {
    /// Changes the user's password. Every token except the one of this call is revoked, and all connections are closed;
    /// the connection of this call may be closed before the answer arrives. Added.
    struct ChangePassword {
        /// The user.
        caller as "user_id": CallerId<UserId>,
        password: Password,
        new_password: Password,
    }
}

impl Call for ChangePassword {
    const FACTS: Facts = Facts::new("change_password", Permitted::Named, "done");
    type Answer = Renewed;

    async fn handle(self, context: &CallContext) -> Result<Renewed, DomainError> {
        let user = context.acting(self.caller).await?;
        let passwords = (self.password.0, self.new_password.0);
        let kept = context.token().ok();
        let token = context.hub.change_password(&user, passwords, kept, context.from, context.now).await?;
        Ok(Renewed { token: (&token).into() })
    }
}

answer! {
    /// The answer of `/change_password`.
    pub struct Renewed {
        /// A new token, for `Authorization: Bearer`, /ws and MQTT.
        token: Shown,
    }
}

answer! {
    /// The members that the answers of `/login` and `/auto_login` share.
    pub struct UserProfile {
        /// The user.
        id as "_id": Id,
        /// The name to log in with.
        username: String,
        /// "1" or "2", as it was registered.
        gender: String,
        /// The name that is shown to others.
        nickname: String,
        /// A picture of /get_image/.
        avatar: File,
        /// The address book.
        friend_list: Vec<Friend>,
        /// The user's toys.
        bind_toy: Vec<Id>,
    }
}

impl From<Profile> for UserProfile {
    fn from(profile: Profile) -> Self {
        let Profile { user, friends, toys, .. } = profile;
        Self {
            id: (&user.id).into(),
            username: user.username,
            gender: user.gender,
            nickname: user.nickname,
            avatar: (&user.avatar).into(),
            friend_list: friends.into_iter().map(Friend::from).collect(),
            bind_toy: toys.iter().map(Id::from).collect(),
        }
    }
}

answer! {
    /// The answer of `/login`.
    pub struct LoggedIn {
        ..profile: UserProfile,
        /// For `Authorization: Bearer`, /ws and MQTT. Added.
        token: Shown,
    }
}

answer! {
    /// The answer of `/auto_login`.
    pub struct Returned {
        ..profile: UserProfile,
        chat: UnreadCounts,
    }
}

answer! {
    /// The answer of `/ticket`.
    pub struct Issued {
        /// Opens /ws?ticket=… once, within a short time.
        ticket: Shown,
    }
}

/// The numbers of unread messages: `count` is the total, and each sender's number stands under its id.
#[derive(Serialize)]
#[serde(transparent)]
pub struct UnreadCounts(serde_json::Map<String, Value>);

impl UnreadCounts {
    /// The counts of an address book.
    pub fn of(friends: &[model::Friend]) -> Self {
        let total = friends.iter().map(|friend| friend.unread).sum::<u64>();
        let unread = friends.iter().filter(|friend| friend.unread > 0);
        let counts = unread.map(|friend| (friend.party.id().to_owned(), friend.unread.into()));
        Self([("count".to_owned(), total.into())].into_iter().chain(counts).collect())
    }
}

impl Shape for UnreadCounts {
    fn schema(components: &mut Components) -> Value {
        components.named("UnreadCounts", |_| {
            schema::closed(vec![schema::must("count", schema::whole(), "All unread messages.")])
                .with("patternProperties", schema::map([("^[0-9a-f]{24}$", schema::from(1))]))
                .with("description", "The number of unread messages: in all, and for each sender under its id.")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChatId, Party};

    #[test]
    fn only_senders_with_unread_messages_are_counted() {
        let friend = |id: &str, unread| model::Friend {
            party: Party::Toy(id.parse().unwrap()),
            nickname: String::new(),
            remark: String::new(),
            avatar: "toy.jpg".parse().unwrap(),
            chat: ChatId::random(),
            unread,
            is_muted: false,
        };
        let friends = [friend("5c8f5853268d7942f44c6705", 2), friend("5c8f5853268d7942f44c6706", 0)];
        let text = |friends: &[model::Friend]| serde_json::to_string(&UnreadCounts::of(friends)).unwrap();
        assert_eq!(text(&friends), r#"{"count":2,"5c8f5853268d7942f44c6705":2}"#);
        assert_eq!(text(&[]), r#"{"count":0}"#);
    }
}
