//! From the first byte to CONNACK: authentication, takeover, and the terms of the session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rumqttd::protocol::{ConnAckProperties, ConnectReturnCode};
use tokio::time::timeout;

use super::codec;
use super::connect::{Connect, Rejection};
use super::encode;
use super::exchange::{Exchange, Memory, Options, Terms};
use super::link::Link;
use super::reason::Refusal;
use super::session::{Lifetime, Session};
use super::sessions::{Kept, SessionPlace};
use super::version::Version;
use super::{Edge, Profile};
use crate::config::{self, seconds};
use crate::domain::cluster::{FoundSession, SessionSearch};
use crate::domain::error::DomainError;
use crate::domain::live::{ReplayRetained, Subscription, Ticket};
use crate::domain::login::Admitted;
use crate::edge::line::LoggedIn;
use crate::edge::net::{Ending, Place, Stream};
use crate::edge::wire::{self, age_now, now};
use crate::ports::metrics::{METRICS, Traffic};
use crate::ports::router::{CloseReason, LinkInfo, Mailbox, SessionHandle};

/// Where mosquitto publishes whether a bridge of it is connected.
const STATE_OF_BRIDGE: &str = "$SYS/broker/connection/";

/// A connection that was accepted.
pub(super) struct Arrival {
    /// The address of the client.
    pub peer: IpAddr,
    /// Its place in the order in which connections were accepted.
    pub number: u64,
    /// Its bytes.
    pub traffic: Arc<Traffic>,
    /// The requirements of its listener.
    pub profile: Profile,
    /// Its place among the connections.
    pub place: Place,
}

/// Brings a new connection to its session; or its end, if it was refused, silent for too long, or the hub stops.
pub(super) async fn handshake<S: Stream>(
    socket: S,
    arrival: Arrival,
    edge: Arc<Edge>,
) -> Result<Box<Session<S>>, Ending> {
    let Arrival { peer, number, traffic, profile, place } = arrival;
    let patience = seconds(edge.config.connect_timeout_s);
    let mut link = Link::new(socket, edge.config.write_timeout_s.try_into().unwrap_or(u32::MAX));
    let mut ending = Ending::Failed;
    let entered = async {
        let mut connect = read_connect(&mut link, edge.config.packet_max_bytes, profile).await?;
        connect.expiry_s = connect.expiry_s.min(edge.config.session_expiry_max_s);
        if !connect.username.is_empty() {
            ending = Ending::of_refused(&connect.username);
        }
        let version = connect.version;
        let reject = move |refusal| Rejection::new(version, refusal);
        let admitted = admit(&connect, peer, &edge, profile).await.map_err(reject)?;
        check_will(&mut connect, &admitted, &edge).await.map_err(reject)?;
        let entered = enter(&connect, &admitted, &edge, number, patience).await.map_err(reject)?;
        Ok::<_, Rejection>((connect, entered, admitted))
    };
    let entered = tokio::select! {
        entered = timeout(patience * 2, entered) => entered.unwrap_or(Err(Rejection::SILENT)),
        () = edge.shutdown.cancelled() => Err(Rejection::SILENT),
    };
    let (mut connect, entered, admitted) = match entered {
        Ok(entered) => entered,
        Err(rejection) => {
            METRICS.mqtt.login.add();
            tracing::debug!(reason = ?rejection.refusal, "mqtt connection refused");
            rejection.write(&mut link.output);
            link.close().await;
            return Err(ending);
        }
    };
    if edge.shutdown.is_cancelled() {
        // Entered after all sessions were closed.
        entered.mailbox.close(CloseReason::ShuttingDown);
    }
    entered.mailbox.note_link(LinkInfo { protocol: connect.version.name(), peer, since: now(), traffic });
    let terms = terms(&connect, entered.mailbox.last_seq(), &edge.config);
    let keep_alive_s = keep_alive_s(&connect, &edge.config);
    let properties = connack_properties(&connect, entered.assigned_id, keep_alive_s, &edge.config);
    let present = entered.is_resumed;
    encode::connack(connect.version, present, ConnectReturnCode::Success, properties, &mut link.output);
    // Their packet ids are free when the client has completed them.
    entered.memory.released.iter().for_each(|id| encode::pubrel(*id, &mut link.output));
    // §3.1.2.10: one and a half times the keep alive; 0 turns it off.
    let silence_max = (keep_alive_s > 0).then(|| Duration::from_secs(keep_alive_s.into()) * 3 / 2);
    let login_ends = wire::instant_of(admitted.expires_at);
    let lifetime = Lifetime { will: connect.will.take(), expiry_s: connect.expiry_s, silence_max, login_ends };
    let exchange = Exchange::new(terms, entered.memory);
    let device = LoggedIn { client_id: &connect.client_id, username: &connect.username, admitted: &admitted, peer };
    let plug = edge.lines.as_ref().and_then(|connect| connect(device));
    // Boxed: otherwise the task of the connection would have room for it several times.
    let mut session =
        Box::new(Session::new(edge, link, entered.mailbox, entered.place, exchange, lifetime, (peer, place)));
    session.set_plug(plug);
    session.set_unowned(entered.unowned);
    Ok(session)
}

async fn read_connect<S: Stream>(
    link: &mut Link<S>,
    packet_max_bytes: usize,
    profile: Profile,
) -> Result<Connect, Rejection> {
    loop {
        match codec::take_frame(&mut link.input, packet_max_bytes) {
            Ok(Some((header, frame))) => return Connect::read(header, frame, profile == Profile::Conformance),
            Ok(None) if matches!(link.input.first(), None | Some(0x10)) => {}
            // No CONNECT: nothing that follows is waited for.
            Ok(None) | Err(_) => return Err(Rejection::SILENT),
        }
        match link.read().await {
            Ok(0) | Err(_) => return Err(Rejection::SILENT),
            Ok(_) => {}
        }
    }
}

/// Authenticates the client. The conformance listener asks for no credentials.
async fn admit(connect: &Connect, peer: IpAddr, edge: &Edge, profile: Profile) -> Result<Admitted, Refusal> {
    if profile == Profile::Conformance {
        return Ok(Admitted::guest());
    }
    let (hub, name) = (&edge.hub, &connect.username);
    hub.may_connect_as(peer, name).map_err(|error| Refusal::from(&error))?;
    let admitted = hub.authenticate_client(name, connect.password.clone(), peer, now()).await;
    admitted.map_err(|error| {
        hub.note_refused_connection(peer, name, &error);
        Refusal::from(&error)
    })
}

/// Refuses a will that the client may not publish (v5 §3.1.2.5), as it would be dropped without notice otherwise. Its
/// permission is checked again when it is published. A bridge is accepted without such a will: by default, mosquitto
/// sets one on the `$SYS` topic that states whether the bridge is connected.
async fn check_will(connect: &mut Connect, admitted: &Admitted, edge: &Edge) -> Result<(), Refusal> {
    let Some(will) = &connect.will else { return Ok(()) };
    match edge.hub.check_publish(&admitted.party, &will.topic).await {
        Err(DomainError::Forbidden) if will.topic.as_str().starts_with(STATE_OF_BRIDGE) => {
            connect.will = None;
            Ok(())
        }
        checked => checked.map_err(|error| Refusal::from(&error)),
    }
}

/// A client's place among the sessions, with the state of its session.
pub(super) struct Entered {
    pub(super) mailbox: Mailbox,
    pub(super) place: SessionPlace,
    pub(super) memory: Memory,
    pub(super) is_resumed: bool,
    /// The search for a session that began anew here, until the client knows that.
    unowned: Option<SessionSearch>,
    assigned_id: Option<String>,
}

/// Ends the client's older connection, and takes its session up again or begins a new one.
pub(super) async fn enter(
    connect: &Connect,
    admitted: &Admitted,
    edge: &Edge,
    number: u64,
    patience: Duration,
) -> Result<Entered, Refusal> {
    let assigned_id = connect.client_id.is_empty().then(assigned_client_id);
    let client_id = assigned_id.as_ref().unwrap_or(&connect.client_id);
    let refused = |error: DomainError| Refusal::from(&error);
    edge.hub.reclaim_session(&admitted.party, client_id).await.map_err(refused)?;
    let mut place = edge.sessions.enter(&admitted.party, client_id, number, patience).await.ok_or(Refusal::Busy)?;
    let found = match assigned_id {
        None => edge.hub.find_session(&admitted.party, client_id, connect.is_clean, connect.expiry_s).await,
        Some(_) => Ok(SessionSearch::default()),
    };
    let mut search = found.map_err(refused)?;
    let (mut found, was_elsewhere) = (search.found.take(), search.was_elsewhere);
    let mut kept = place.take(age_now());
    if let Some(over) = kept.take_if(|kept| edge.hub.is_over(&search, kept.handle(), client_id)) {
        over.end();
    }
    // A later session is at a hub that does not answer: this one lacks what the client has sent and received there, and
    // the client has to know. What this one has kept is not lost.
    let is_outdated = was_elsewhere && found.is_none();
    let (mailbox, mut memory, is_kept) = match kept {
        Some(kept) if !connect.is_clean => {
            let (handle, mut memory) = kept.resume();
            keep_here(&mut place, handle.clone(), &memory, connect);
            let mailbox = edge.hub.attach(&handle, admitted).await.map_err(refused)?;
            mailbox.set_expiry(connect.expiry_s);
            if was_elsewhere {
                forget_received(&mailbox, &mut memory).await.map_err(refused)?;
            }
            (Ok(mailbox), memory, true)
        }
        kept => {
            if let Some(kept) = kept {
                kept.end();
            }
            let mailbox = if connect.expiry_s == 0 {
                edge.hub.connect(admitted, edge.queue_limits()).await
            } else if !edge.sessions.has_room(&admitted.party, &edge.config) {
                Err(DomainError::Full("session of this user or toy"))
            } else {
                edge.hub.open_session(admitted, client_id, connect.expiry_s).await
            };
            (mailbox, Memory::default(), false)
        }
    };
    let mailbox = mailbox.map_err(refused)?;
    let session = mailbox.session();
    if let Some(session) = session.clone() {
        keep_here(&mut place, session, &memory, connect);
    }
    let begins_anew = is_outdated && !connect.is_clean && connect.expiry_s > 0;
    if let Some(session) = session.as_ref().filter(|_| begins_anew) {
        edge.hub.note_begun_anew(session);
    }
    place.serve(&mailbox, &edge.hub);
    let is_found = found.is_some();
    if let (Some(found), Some(session)) = (&mut found, session.clone()) {
        let messages_max = edge.hub.merged_messages_max();
        let in_flight = std::mem::take(&mut found.in_flight);
        if !session.begin_merge(messages_max, found.delivered.as_ref(), in_flight, &found.released).await {
            return Err(refused(not_stored()));
        }
        let taken_up = take_up(found, &mailbox, &mut memory).await;
        keep_here(&mut place, session, &memory, connect);
        taken_up.map_err(refused)?;
    }
    let unowned = if begins_anew {
        Some(search)
    } else {
        let is_owned = match assigned_id {
            None => {
                let (is_clean, expiry_s) = (connect.is_clean, connect.expiry_s);
                edge.hub.own_session(&admitted.party, client_id, is_clean, expiry_s, &search).await.map_err(refused)?
            }
            Some(_) => true,
        };
        if !is_owned {
            // What a session before has kept here is not lost. A new one would take messages of nobody.
            if let Some(session) = session.filter(|_| !is_kept) {
                session.end();
                place.clear();
            }
            return Err(Refusal::Busy);
        }
        None
    };
    if let (Some(found), Some(session)) = (found, session.clone()) {
        edge.hub.accept_session(found, session);
    }
    let is_resumed = is_found || (is_kept && !is_outdated);
    if is_resumed || is_kept {
        end_forbidden_subscriptions(&mailbox, edge).await.map_err(refused)?;
        edge.hub.resume(&mailbox).await.map_err(refused)?;
    }
    if let Some(session) = session {
        // From now on, the connection has the memory, which changes with each packet.
        keep_here(&mut place, session, &Memory::default(), connect);
    }
    Ok(Entered { mailbox, place, memory, is_resumed, unowned, assigned_id })
}

/// Leaves the session at its place before a step that may fail, or never end: the whole session is there for the next
/// connection, with the packet ids of QoS 2 messages that the client has not released.
fn keep_here(place: &mut SessionPlace, session: SessionHandle, memory: &Memory, connect: &Connect) {
    place.keep(Kept::new(session, memory.clone(), age_now() + f64::from(connect.expiry_s), None));
}

/// Forgets the QoS 2 messages that the client had not released when its session went to another hub: it may use their
/// packet ids for other messages now, which must not count as repeats.
async fn forget_received(mailbox: &Mailbox, memory: &mut Memory) -> Result<(), DomainError> {
    let mut commit = None;
    memory.released.clear();
    for id in std::mem::take(&mut memory.received) {
        commit = mailbox.completed(id);
    }
    stored(commit).await
}

/// Waits for a commit of the session.
async fn stored(commit: Option<Ticket>) -> Result<(), DomainError> {
    let is_stored = match commit {
        Some(mut commit) => commit.reached().await,
        None => true,
    };
    if is_stored { Ok(()) } else { Err(not_stored()) }
}

fn not_stored() -> DomainError {
    DomainError::internal("the session was not stored")
}

/// Takes up the session that another hub has found.
async fn take_up(found: &FoundSession, mailbox: &Mailbox, memory: &mut Memory) -> Result<(), DomainError> {
    for subscription in &found.subscriptions {
        let Subscription { filter, share, options, id, .. } = subscription;
        if mailbox.subscribe(subscription, ReplayRetained::Never).is_ok() {
            memory.options.retain(|known| known.filter != *filter || known.share != *share);
            memory.options.push(Options::new(filter.clone(), share.clone(), *options, *id));
        }
    }
    memory.released.extend(&found.released);
    let mut commit = mailbox.commit();
    for id in &found.received {
        memory.received.insert(*id);
        commit = mailbox.received(*id);
    }
    stored(commit).await
}

/// Ends subscriptions of a resumed session that would be refused today.
async fn end_forbidden_subscriptions(mailbox: &Mailbox, edge: &Edge) -> Result<(), DomainError> {
    for (filter, share) in mailbox.subscriptions() {
        if !edge.hub.may_receive(mailbox.party(), filter.as_str()).await? {
            mailbox.unsubscribe(&filter, share.as_deref());
        }
    }
    Ok(())
}

/// A client id for a client without one (v5 §3.1.3.1).
fn assigned_client_id() -> String {
    let mut digits = [0u8; 12];
    rand::rng().fill_bytes(&mut digits);
    format!("toyhub-{}", hex::encode(digits))
}

fn terms(connect: &Connect, last_seq: Option<u64>, config: &config::Mqtt) -> Terms {
    Terms {
        last_seq,
        version: connect.version,
        packet_max_bytes: connect.packet_max_bytes,
        window: connect.receive_max.min(config.inflight_max),
        // 3.1.1 knows no such limit: only the number of packet ids.
        receive_max: if connect.version == Version::V5 { config.inflight_max } else { u16::MAX },
        is_bridge: connect.is_bridge,
        aliases_in_max: config.topic_aliases_max,
        aliases_out_max: connect.aliases_max.min(config.topic_aliases_max),
        problem_information: connect.problem_information,
    }
}

/// The keep alive that applies to the client; 0 for none.
///
/// v5 lets the server choose (v5 §3.2.2.3.14). 3.1.1 does not: a client that asks for none, or for a long one, keeps
/// it, and TCP keep alive detects its end.
fn keep_alive_s(connect: &Connect, config: &config::Mqtt) -> u16 {
    let asked = connect.keep_alive_s;
    match connect.version {
        Version::V5 if asked == 0 || asked > config.keep_alive_max_s => config.keep_alive_max_s,
        _ => asked,
    }
}

fn connack_properties(
    connect: &Connect,
    assigned: Option<String>,
    keep_alive_s: u16,
    config: &config::Mqtt,
) -> ConnAckProperties {
    ConnAckProperties {
        // Always sent: the hub may grant less than the client has requested (v5 §3.2.2.3.2).
        session_expiry_interval: Some(connect.expiry_s),
        receive_max: Some(config.inflight_max),
        retain_available: Some(1),
        max_packet_size: Some(u32::try_from(config.packet_max_bytes).unwrap_or(u32::MAX)),
        assigned_client_identifier: assigned,
        topic_alias_max: Some(config.topic_aliases_max),
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(1),
        server_keep_alive: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
        ..ConnAckProperties::default()
    }
}
