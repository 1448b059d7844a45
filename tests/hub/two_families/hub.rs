//! The matrix over the registry: a real hub with its database in this process, whose clock and whose callers the test
//! chooses.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use toyhub::api::request::{FieldInfo, Given, Presence, Request, Text as _, info};
use toyhub::api::{self, Authority, Call, CallContext, Entry, Facts, Permitted, ServedAt};
use toyhub::config::{AuthMode, Config};
use toyhub::domain::error::DomainError;
use toyhub::domain::{Hub, Origin, Progress};
use toyhub::edge::status;
use toyhub::model::{Party, Secret, Timestamp, ToyId};
use toyhub::server::open_hub;

use super::assignments::assignments;
use super::{Pool, Secrets, Tally};
use crate::sound;

const HOME: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";
const NOWHERE: &str = "127.0.0.3";
const NOW: Timestamp = 1_800_000_000.0;
/// When every token has expired.
const LATER: Timestamp = NOW + 2.0 * 365.0 * 86_400.0;

/// Whether a call ends what later ones are tried with: a friendship, a binding or an account. Such calls are the last.
fn ends(call: &Entry) -> bool {
    let name = call.facts.name;
    name.starts_with("erase_")
        || ["unbind_toy", "withdraw_consent", "unfriend", "block", "remove_guardian"].contains(&name)
}

/// The caller, its address and the time of a call.
#[derive(Clone)]
struct Caller {
    name: &'static str,
    from: IpAddr,
    /// Whether the address proves nothing, as of a web page that anybody may have made.
    is_hidden: bool,
    token: Option<String>,
    /// The party of the connection, instead of a token.
    party: Option<Party>,
    now: Timestamp,
}

impl Caller {
    fn at(from: &str) -> Self {
        Self { name: "", from: from.parse().unwrap(), is_hidden: false, token: None, party: None, now: NOW }
    }

    fn with(name: &'static str, from: &str, token: Option<&str>, now: Timestamp) -> Self {
        Self { name, token: token.map(str::to_owned), now, ..Self::at(from) }
    }
}

/// A user with a toy.
#[derive(Clone)]
struct Family {
    user: String,
    toy: String,
    token: String,
    device_key: String,
}

impl Family {
    fn parties(&self) -> [Party; 2] {
        [Party::User(self.user.parse().unwrap()), Party::Toy(self.toy.parse().unwrap())]
    }
}

struct Stage {
    hub: Arc<Hub>,
    _folder: tempfile::TempDir,
}

fn entry(name: &str) -> &'static Entry {
    api::calls().find(|call| call.facts.name == name).unwrap_or_else(|| panic!("no call {name}"))
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

impl Stage {
    async fn open(mode: AuthMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data_dir = folder.path().join("data");
        config.store.url = "memory".into();
        config.auth.mode = mode;
        config.accounts.password_memory_kib = 8;
        config.accounts.password_passes = 1;
        config.accounts.pending_requests_max = 100_000;
        config.chats.retry_window_s = 0;
        config.speech.synthesiser = "/nowhere/espeak-ng".into();
        let rates = &mut config.rates;
        for rate in [
            &mut rates.failed_logins_per_address_per_minute,
            &mut rates.failed_logins_per_account_per_minute,
            &mut rates.registrations_per_address_per_minute,
            &mut rates.uploads_per_party_per_minute,
            &mut rates.requests_per_party_per_minute,
        ] {
            *rate = 1_000_000;
        }
        let hub = open_hub(&Arc::new(config), &Progress::unwatched()).await.unwrap();
        Self { hub, _folder: folder }
    }

    /// The answer of a call, as an envelope.
    async fn call(&self, caller: &Caller, call: &Entry, fields: Map<String, Value>) -> Value {
        let authority = match (&caller.party, &caller.token) {
            (Some(party), _) => Authority::Party(party.clone()),
            (None, token) => Authority::Token(token.as_ref().map(Secret::new)),
        };
        let from = Origin { is_hidden: caller.is_hidden, ..caller.from.into() };
        let context = CallContext::new(Arc::clone(&self.hub), from, caller.now, authority);
        let mut given = Given::of(fields);
        if call.takes_recording {
            // Over HTTP the gate checks the caller before anything is received; here the call itself must.
            let mut upload = self.hub.begin_upload(1 << 20).await.unwrap();
            upload.write(&sound::beep().into()).await.unwrap();
            given.recording = Some(upload.into());
        }
        let answered = call.run(&context, given).await;
        if let Some(handover) = context.take_handover() {
            self.hub.complete(handover, caller.now).await.unwrap();
        }
        match answered {
            Ok(reply) => json!({"code": 0, "data": reply.data}),
            Err(error) => {
                assert!(!matches!(error, DomainError::Internal(_)), "{}: {error:?}", call.facts.name);
                json!({"code": status::of(&error).code, "msg": error.to_string(), "data": status::data_of(&error)})
            }
        }
    }

    async fn ok(&self, caller: &Caller, name: &str, fields: Value) -> Value {
        let answer = self.call(caller, entry(name), map(fields.clone())).await;
        assert_eq!(answer["code"], 0, "{name} {fields}: {answer}");
        answer["data"].clone()
    }

    /// A user with a toy, at an address.
    async fn family(&self, name: &str, from: &str) -> Family {
        let mut caller = Caller::at(from);
        let password = format!("password-of-{name}");
        let username = format!("user-{name}");
        let new =
            json!({"username": username, "password": password, "nickname": format!("nick-{name}"), "gender": "2"});
        self.ok(&caller, "reg", new).await;
        let login = self.ok(&caller, "login", json!({"username": username, "password": password})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (user, token) = (text(&login["_id"]), text(&login["token"]));
        caller.token = Some(token.clone());
        let device = self.hub.add_devices(1, NOW).await.unwrap().remove(0);
        let key = device.key.as_str().to_owned();
        let binding = json!({
            "toy_name": format!("toy-{name}"), "baby_name": format!("baby-{name}"), "remark": format!("remark-{name}"),
            "user_id": user, "device_key": key,
        });
        self.ok(&caller, "bind_toy", binding).await;
        let toys = self.ok(&caller, "toy_list", json!({"_id": user})).await;
        // It opens at its own place, after which it may not open at any address any more.
        self.call(&Caller::at(from), entry("open_toy"), map(json!({"device_key": key}))).await;
        caller.token = Some(device.secret.reveal().to_owned());
        self.ok(&caller, "open_toy", json!({"device_key": key})).await;
        Family { user, toy: text(&toys[0]["_id"]), token, device_key: key }
    }

    async fn requests_friendship(&self, asker: &Family, whom: &str, from: &str) {
        let caller = Caller::with("", from, Some(&asker.token), NOW);
        let wish = json!({"req_user": asker.user, "add_user": whom, "type": "app", "req_info": "", "remark": "T"});
        self.ok(&caller, "add_req", wish).await;
    }

    /// The first family's own view of its data, without requests of the other one.
    async fn picture(&self, of: &Family, but: &[String]) -> String {
        let [user, toy] = of.parties().map(|party| Caller { party: Some(party), ..Caller::at(HOME) });
        let mut picture = Vec::new();
        for name in ["auto_login", "toy_list", "friend_list", "unread"] {
            picture.push(self.ok(&user, name, json!({})).await);
        }
        for name in ["toy_profile", "friend_list", "unread"] {
            picture.push(self.ok(&toy, name, json!({})).await);
        }
        picture.push(self.ok(&toy, "upload_state", json!({"upload": "upload-of-mia"})).await);
        let mut requests = self.ok(&user, "req_list", json!({})).await;
        let requests = requests.as_array_mut().unwrap();
        requests.retain(|request| !but.iter().any(|id| request["req_user"] == id.as_str()));
        picture.push(json!(requests));
        let mut picture = json!(picture);
        strip_links(&mut picture);
        picture.to_string()
    }
}

/// Links differ with their time.
fn strip_links(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| name != "url" && name != "notice_url");
            members.values_mut().for_each(strip_links);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_links),
        _ => {}
    }
}

/// The first family, the other one, and the data that must not be disclosed.
struct Cast {
    stage: Stage,
    ours: Family,
    other: Family,
    logged_out: String,
    secrets: Secrets,
    pool: Pool,
}

impl Cast {
    async fn new(mode: AuthMode) -> Self {
        let stage = Stage::open(mode).await;
        let ours = stage.family("mia-with-a-toy", HOME).await;
        let other = stage.family("eve-the-other", ELSEWHERE).await;
        let friend = stage.family("ann-who-asks", HOME).await;
        let [as_user, as_toy] = ours.parties().map(|party| Caller { party: Some(party), ..Caller::at(HOME) });
        let sent = stage.ok(&as_user, "app_uploader", json!({"to_user": ours.toy})).await;
        stage.ok(&as_toy, "toy_uploader", json!({"to_user": ours.user, "friend_type": "app"})).await;
        stage.requests_friendship(&friend, &ours.user, HOME).await;
        stage.requests_friendship(&friend, &ours.toy, HOME).await;
        let chunk = vec![(0, bytes::Bytes::from_static(b"a piece of a recording"))];
        stage.hub.keep_chunks(&ours.parties()[1], &"upload-of-mia".parse().unwrap(), chunk).await.unwrap();

        let mut secrets = Secrets::default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        secrets.add("the parent's id", &ours.user);
        secrets.add("the toy's id", &ours.toy);
        for (name, value) in [
            ("a user name", "user-mia"),
            ("a nickname", "nick-mia"),
            ("the toy's name", "toy-mia"),
            ("the child's name", "baby-mia"),
            ("a remark", "remark-mia"),
            ("a friend's name", "nick-ann"),
        ] {
            secrets.add(name, value);
        }
        let friends = stage.ok(&as_user, "friend_list", json!({})).await;
        let chat = text(&friends[0]["friend_chat"]);
        secrets.add("the chat", &chat);
        let requests = stage.ok(&as_user, "req_list", json!({})).await;
        let mut ids = vec![ours.user.clone(), ours.toy.clone(), chat, text(&sent["_id"])];
        for request in requests.as_array().unwrap() {
            secrets.add("a request", text(&request["_id"]));
            ids.push(text(&request["_id"]));
        }
        secrets.add("a friend's id", &friend.user);
        secrets.add("a message's id", text(&sent["_id"]));
        let mut sounds = Vec::new();
        for caller in [&as_user, &as_toy] {
            for message in stage.ok(caller, "unread", json!({})).await["messages"].as_array().unwrap() {
                secrets.add("a recording", text(&message["message"]));
                sounds.push(text(&message["message"]));
            }
        }
        assert_eq!(sounds.len(), 2);
        secrets.add("a token", &ours.token);

        // A revoked token.
        let third = stage.family("liz-logged-out", NOWHERE).await;
        stage.hub.log_out_everywhere(&third.parties()[0]).await.unwrap();
        let (own, device_key) = (vec![other.user.clone(), other.toy.clone()], ours.device_key.clone());
        let pool = Pool { own, ids, device_key, sounds, upload: "upload-of-mia".into() };
        Self { stage, ours, other, logged_out: third.token, secrets, pool }
    }

    /// All callers outside the family, with each kind of token.
    fn callers(&self) -> Vec<Caller> {
        let guessed = "0123456789abcdef".repeat(4);
        let mut callers = vec![
            Caller::with("a stranger without a token", NOWHERE, None, NOW),
            Caller::with("a stranger with the device key as a token", NOWHERE, Some(&self.ours.device_key), NOW),
            Caller::with("a stranger with a guessed token", NOWHERE, Some(&guessed), NOW),
            Caller::with("the other family without a token", ELSEWHERE, None, NOW),
            Caller::with("the other family with its token", ELSEWHERE, Some(&self.other.token), NOW),
            Caller::with("the other family with an expired token", ELSEWHERE, Some(&self.other.token), LATER),
            Caller::with("the family's token, expired, elsewhere", ELSEWHERE, Some(&self.ours.token), LATER),
            Caller::with("somebody who has logged out", ELSEWHERE, Some(&self.logged_out), NOW),
            Caller::with("a stranger with the id as a token", NOWHERE, Some(&self.ours.user), NOW),
        ];
        let page = Caller::with("a stranger's web page in the family's browser", HOME, None, NOW);
        callers.push(Caller { is_hidden: true, ..page });
        let names = ["the other user's connection", "the other toy's connection"];
        for (name, party) in names.into_iter().zip(self.other.parties()) {
            callers.push(Caller { party: Some(party), ..Caller::with(name, ELSEWHERE, None, NOW) });
        }
        callers
    }

    /// Tries all calls with all of their fields; any disclosed or changed data is a leak.
    async fn run(&self, calls: &[&Entry], secrets: &Secrets) -> Tally {
        let mut tally = Tally::of(&self.pool);
        let mut picture = self.stage.picture(&self.ours, &self.pool.own).await;
        let (last, first): (Vec<&Entry>, Vec<&Entry>) = calls.iter().copied().partition(|call| ends(call));
        for call in first.into_iter().chain(last) {
            let name = call.facts.name;
            let all = assignments(&(call.fields)(), &self.pool);
            for caller in self.callers() {
                let is_connection = caller.party.is_some();
                let is_served = match call.facts.served_at {
                    ServedAt::All => true,
                    ServedAt::Http => !is_connection,
                    ServedAt::Connection => is_connection,
                };
                if !is_served {
                    continue;
                }
                for fields in &all {
                    let request = json!(fields).to_string();
                    let answer = self.stage.call(&caller, call, fields.clone()).await;
                    tally.note(secrets, caller.name, name, &request, &answer.to_string());
                }
                let now = self.stage.picture(&self.ours, &self.pool.own).await;
                if now != picture {
                    tally.leak(format!("{name}, {}: an effect", caller.name));
                    picture = now;
                }
            }
        }
        // The other family is unchanged: nothing was refused for another reason.
        let caller = Caller::with("", ELSEWHERE, Some(&self.other.token), NOW);
        self.stage.ok(&caller, "friend_list", json!({"_id": self.other.user})).await;
        // No caller gained access meanwhile.
        let stranger = Caller::at(NOWHERE);
        let opened = self.stage.ok(&stranger, "open_toy", json!({"device_key": self.ours.device_key})).await;
        if opened["code"] == 0 {
            tally.leak("open_toy at the end: the toy".into());
        }
        tally
    }

    /// Makes the other user a friend of the first family's toy.
    async fn befriend(&self) {
        self.stage.requests_friendship(&self.other, &self.ours.toy, ELSEWHERE).await;
        let us = Caller { party: Some(self.ours.parties()[0].clone()), ..Caller::at(HOME) };
        let requests = self.stage.ok(&us, "req_list", json!({})).await;
        let wish = requests.as_array().unwrap().iter().find(|request| {
            request["req_user"] == self.other.user.as_str() && request["add_user"] == self.ours.toy.as_str()
        });
        let accepted = json!({"req_id": wish.unwrap()["_id"], "remark": "E"});
        self.stage.ok(&us, "acc_req", accepted).await;
    }
}

/// The toy in the address book of a friend.
const KNOWN_TO_FRIENDS: [&str; 2] = ["the toy's id", "the child's name"];

fn in_a_runtime(test: impl Future<Output = ()> + Send + 'static) {
    // The database's parser and executor recurse deeper than the stack of a test.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(10 << 20).build().unwrap();
    runtime.block_on(async { tokio::spawn(test).await.unwrap() });
}

fn tight_in(mode: AuthMode) {
    in_a_runtime(async move {
        let cast = Cast::new(mode).await;
        let calls: Vec<&Entry> = api::calls().collect();
        let tally = cast.run(&calls, &cast.secrets).await;
        tally.print(&format!("{mode:?}: the registry"));
        tally.assert_tight();
        assert!(tally.tried > 5000, "{}", tally.tried);
    });
}

#[test]
fn the_registry_discloses_nothing_to_strangers_in_place() {
    tight_in(AuthMode::Place);
}

#[test]
fn the_registry_discloses_nothing_to_strangers_with_tokens() {
    tight_in(AuthMode::Token);
}

#[test]
fn the_matrix_finds_the_gaps_of_open_mode() {
    in_a_runtime(async {
        let cast = Cast::new(AuthMode::Open).await;
        // In this mode any caller could erase the family with these, and there would be no data left to check.
        let calls: Vec<&Entry> = api::calls().filter(|call| !call.takes_recording && !ends(call)).collect();
        let tally = cast.run(&calls, &cast.secrets).await;
        tally.print("Open: the registry without recordings");
        for call in ["friend_list", "auto_login", "toy_list", "recv_msg", "req_list"] {
            assert!(tally.leaks.keys().any(|line| line.starts_with(call)), "{call}: {:#?}", tally.leaks);
        }
    });
}

#[test]
fn an_accepted_friend_gets_the_data_of_friends() {
    in_a_runtime(async {
        for mode in [AuthMode::Place, AuthMode::Token] {
            let cast = Cast::new(mode).await;
            cast.befriend().await;
            let calls: Vec<&Entry> = api::calls().filter(|call| !call.takes_recording).collect();
            let mut tally = cast.run(&calls, &cast.secrets.without(&KNOWN_TO_FRIENDS)).await;
            // A friend may end the friendship; only the disclosed data is checked here.
            let before = tally.leaks.len();
            tally.leaks.retain(|line, _| !line.ends_with(": an effect"));
            assert!(tally.leaks.len() < before, "the friendship was not ended by its own calls");
            tally.print(&format!("{mode:?}: the registry to a friend of the toy"));
            tally.assert_tight();
        }
    });
}

/// A call that does not check its caller.
struct Forgetful {
    toy: ToyId,
}

impl Request for Forgetful {
    const ABOUT: &'static str = "The address book of a toy.";
    const TAKES_RECORDING: bool = false;

    fn fields() -> Vec<FieldInfo> {
        vec![FieldInfo { presence: Presence::Required, ..info::<ToyId>("toy_id", "The toy.") }]
    }

    fn read(given: &mut Given) -> Result<Self, DomainError> {
        let text = given.text("toy_id").unwrap_or_default().into_owned();
        Ok(Self { toy: ToyId::parse("toy_id", &text)? })
    }
}

impl Call for Forgetful {
    const FACTS: Facts =
        Facts { name: "forgetful", served_at: ServedAt::All, permitted: Permitted::Named, msg: Some("done") };
    type Answer = Vec<api::friends::Friend>;

    async fn handle(self, context: &CallContext) -> Result<Self::Answer, DomainError> {
        let friends = context.hub.friends(&Party::Toy(self.toy)).await?;
        Ok(friends.into_iter().map(Into::into).collect())
    }
}

/// A call that marks messages of any user as read.
struct Careless {
    user: toyhub::model::UserId,
}

impl Request for Careless {
    const ABOUT: &'static str = "Hears everything.";
    const TAKES_RECORDING: bool = false;

    fn fields() -> Vec<FieldInfo> {
        vec![info::<toyhub::model::PartyId>("who", "The user.")]
    }

    fn read(given: &mut Given) -> Result<Self, DomainError> {
        let text = given.text("who").unwrap_or_default().into_owned();
        Ok(Self { user: text.parse().map_err(|_| DomainError::UnknownParty)? })
    }
}

impl Call for Careless {
    const FACTS: Facts =
        Facts { name: "careless", served_at: ServedAt::All, permitted: Permitted::Named, msg: Some("done") };
    type Answer = api::answer::Nothing;

    async fn handle(self, context: &CallContext) -> Result<Self::Answer, DomainError> {
        if let (_, Some(handover)) = context.hub.hand_over(&Party::User(self.user), None).await? {
            context.hub.complete(handover, context.now).await?;
        }
        Ok(api::answer::Nothing {})
    }
}

#[test]
fn a_call_without_its_check_fails_the_matrix() {
    in_a_runtime(async {
        let cast = Cast::new(AuthMode::Token).await;
        let (forgetful, careless) = (Entry::of::<Forgetful>(), Entry::of::<Careless>());
        let tally = cast.run(&[&forgetful], &cast.secrets).await;
        assert!(tally.leaks.keys().any(|line| line.contains("the parent's id")), "{:#?}", tally.leaks);
        assert!(tally.leaks.keys().any(|line| line.contains("without a token")), "{:#?}", tally.leaks);
        let tally = cast.run(&[&careless], &cast.secrets).await;
        assert!(tally.leaks.keys().any(|line| line.contains("an effect")), "{:#?}", tally.leaks);
    });
}
