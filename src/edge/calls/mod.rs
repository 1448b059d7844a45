//! The calls of the documented API, whichever edge brings them.
//!
//! Over HTTP a call comes with a token or without, and names the party that it is for. Over a socket or MQTT its
//! client has logged in, and the call is for that party: see [`request`]. Either way it becomes a [`Call`], goes to
//! one handler of `accounts`, `toys`, `voice`, `friends`, `uploads` or `reading`, and gives a [`Reply`].
//! `dialect` is the only place that knows the additions for the pages and phones of the field.

mod accounts;
pub mod dialect;
pub mod fields;
mod friends;
mod reading;
pub mod request;
mod toys;
mod uploads;
mod voice;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Dialect;
use crate::domain::error::DomainError;
use crate::domain::{Hub, Upload};
use crate::edge::wire::Json;
use crate::model::{Party, PartyId, Secret, Timestamp, ToyId, UserId};
use fields::{Fields, missing};

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Reg,
    Login,
    AutoLogin,
    ContentList,
    AppUploader,
    ToyUploader,
    AiUploader,
    ChatList,
    RecvMsg,
    ScanQr,
    BindToy,
    ToyList,
    OpenToy,
    FriendList,
    AddReq,
    ReqList,
    RefReq,
    AccReq,
    Ticket,
    Unread,
    Delivered,
    MarkRead,
    UploadState,
    DropUpload,
    GetFile,
}

/// The documented calls by their paths, which without the slash are words of `do` too.
pub const DOCUMENTED: [(&str, Name); 18] = [
    ("/reg", Name::Reg),
    ("/login", Name::Login),
    ("/auto_login", Name::AutoLogin),
    ("/content_list", Name::ContentList),
    ("/app_uploader", Name::AppUploader),
    ("/toy_uploader", Name::ToyUploader),
    ("/ai_uploader", Name::AiUploader),
    ("/chat_list", Name::ChatList),
    ("/recv_msg", Name::RecvMsg),
    ("/scan_qr", Name::ScanQr),
    ("/bind_toy", Name::BindToy),
    ("/toy_list", Name::ToyList),
    ("/open_toy", Name::OpenToy),
    ("/friend_list", Name::FriendList),
    ("/add_req", Name::AddReq),
    ("/req_list", Name::ReqList),
    ("/ref_req", Name::RefReq),
    ("/acc_req", Name::AccReq),
];

/// What came with newer clients, and is a path of HTTP only.
pub const ADDED: [(&str, Name); 1] = [("/ticket", Name::Ticket)];

/// What only those can call who keep a connection.
pub const CONNECTED: [(&str, Name); 6] = [
    ("unread", Name::Unread),
    ("delivered", Name::Delivered),
    ("mark_read", Name::MarkRead),
    ("upload_state", Name::UploadState),
    ("drop_upload", Name::DropUpload),
    ("get_file", Name::GetFile),
];

impl Name {
    /// The call of a `do`.
    fn of_word(word: &str) -> Option<Self> {
        let documented = DOCUMENTED.iter().map(|(path, name)| (path.trim_start_matches('/'), *name));
        let mut all = documented.chain(CONNECTED);
        all.find(|(known, _)| *known == word).map(|(_, name)| name)
    }

    /// Whether a recording comes with the call.
    pub fn takes_recording(self) -> bool {
        matches!(self, Self::AppUploader | Self::ToyUploader | Self::AiUploader)
    }
}

/// On what ground a call acts for a party.
pub enum Authority {
    /// The token that came with it, if one did; what it opens, `[http] auth` decides.
    Token(Option<Secret>),
    /// Its connection has logged in as this party.
    Party(Party),
}

/// What a handler works on.
pub struct Call {
    pub hub: Arc<Hub>,
    pub dialect: Dialect,
    /// The address that the call came from.
    pub peer: IpAddr,
    /// When it came.
    pub now: Timestamp,
    pub fields: Fields,
    pub authority: Authority,
    pub recording: Option<Upload>,
}

/// What a call answers when all went well.
#[derive(Debug)]
pub enum Reply {
    /// `{"code":0,"msg":…,"data":…}`
    Envelope {
        /// The documented words.
        msg: &'static str,
        /// The documented data.
        data: Json,
    },
    /// The data alone: `/open_toy`, `/ai_uploader`, `/recv_msg`.
    Bare(Json),
}

impl Reply {
    /// An envelope without data.
    pub fn done(msg: &'static str) -> Self {
        Self::Envelope { msg, data: Json::empty() }
    }
}

impl Call {
    /// The token that came with the call, if one did.
    pub fn token(&self) -> Option<&Secret> {
        match &self.authority {
            Authority::Token(token) => token.as_ref(),
            Authority::Party(_) => None,
        }
    }

    /// The party with the id of field `name`, if this call may act for it. Who has logged in need not name itself.
    pub async fn party(&self, name: &'static str) -> Result<Party, DomainError> {
        match &self.authority {
            Authority::Party(party) if self.fields.optional(name).trim().is_empty() => Ok(party.clone()),
            _ => self.act_for(&self.fields.party(name)?).await,
        }
    }

    /// The user with the id of field `name`, if this call may act for it. A toy is no user.
    pub async fn user(&self, name: &'static str) -> Result<UserId, DomainError> {
        match self.party(name).await? {
            Party::User(user) => Ok(user),
            Party::Toy(_) => Err(DomainError::UnknownParty),
        }
    }

    /// The toy with the id of field `name`, if this call may act for it. A user is no toy.
    pub async fn toy(&self, name: &'static str) -> Result<ToyId, DomainError> {
        match self.party(name).await? {
            Party::Toy(toy) => Ok(toy),
            Party::User(_) => Err(DomainError::UnknownParty),
        }
    }

    /// Whether this call may act for the party.
    pub async fn act_for(&self, id: &PartyId) -> Result<Party, DomainError> {
        match &self.authority {
            Authority::Token(token) => self.hub.authorize(id, token.as_ref(), self.now).await,
            Authority::Party(party) if party.id() == id.as_str() => Ok(party.clone()),
            // Others look as if they did not exist.
            Authority::Party(_) => Err(DomainError::UnknownParty),
        }
    }

    /// The party that has logged in. Errors: `Unauthorized` for a call without a connection.
    fn connected(&self) -> Result<&Party, DomainError> {
        match &self.authority {
            Authority::Party(party) => Ok(party),
            Authority::Token(_) => Err(DomainError::Unauthorized),
        }
    }

    /// The recording, which the document calls `field`.
    pub fn take_recording(&mut self, field: &'static str) -> Result<Upload, DomainError> {
        self.recording.take().ok_or_else(|| missing(field))
    }
}

/// Does what a call asks.
pub async fn handle(name: Name, call: Call) -> Result<Reply, DomainError> {
    match name {
        Name::Reg => accounts::register(call).await,
        Name::Login => accounts::login(call).await,
        Name::AutoLogin => accounts::auto_login(call).await,
        Name::ContentList => accounts::content_list(call).await,
        Name::AppUploader => voice::app_uploader(call).await,
        Name::ToyUploader => voice::toy_uploader(call).await,
        Name::AiUploader => voice::ai_uploader(call).await,
        Name::ChatList => voice::chat_list(call).await,
        Name::RecvMsg => voice::recv_msg(call).await,
        Name::ScanQr => toys::scan_qr(call).await,
        Name::BindToy => toys::bind_toy(call).await,
        Name::ToyList => toys::toy_list(call).await,
        Name::OpenToy => toys::open_toy(call).await,
        Name::FriendList => friends::friend_list(call).await,
        Name::AddReq => friends::add_req(call).await,
        Name::ReqList => friends::req_list(call).await,
        Name::RefReq => friends::ref_req(call).await,
        Name::AccReq => friends::acc_req(call).await,
        Name::Ticket => accounts::ticket(call).await,
        Name::Unread => reading::unread(call).await,
        Name::Delivered => reading::delivered(call).await,
        Name::MarkRead => reading::mark_read(call).await,
        Name::UploadState => uploads::state(call).await,
        Name::DropUpload => uploads::drop_upload(call).await,
        Name::GetFile => uploads::get_file(call).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_one_call() {
        for (word, name) in DOCUMENTED.iter().chain(&CONNECTED) {
            assert_eq!(Name::of_word(word.trim_start_matches('/')), Some(*name), "{word}");
        }
        assert_eq!(Name::of_word("/reg"), None);
    }
}
