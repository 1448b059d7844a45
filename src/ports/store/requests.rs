//! Friend requests. A request of a toy itself needs the consent of a guardian of that toy first; then it is sent to the
//! recipient, whose answer decides.

use surrealdb::types::{SurrealValue, vars};

use super::friends::{NOBODY, Pair};
use super::transaction::{Transaction, keys_of};
use super::{NewEntry, Refusal, Store, StoreError, stored, stored_party};
use crate::model::{ChatId, Event, FriendRequest, Party, RequestId, RequestStatus, Timestamp, UserId};
use crate::ports::clock;

/// A new request; `status` is pending.
#[derive(Debug)]
pub struct NewFriendRequest {
    /// The request; the id is new.
    pub request: FriendRequest,
    /// The users who may answer it.
    pub answerers: Vec<UserId>,
    /// The requester, and the guardians of a requesting toy: a block against one of them hides the request.
    pub askers: Vec<String>,
    /// The recipient, and the guardians of a recipient toy: a block by one of them hides the request.
    pub blockers: Vec<String>,
    /// Whether a guardian of the requesting toy has made it: an earlier refusal by this side is then ignored.
    pub is_by_guardian: bool,
    /// The ids of the two families, the requester's first: a refused request of one family to the other also refuses
    /// later requests of its other members for a while.
    pub families: [Vec<String>; 2],
    /// A refusal after this time refuses the request, too.
    pub refused_since: Timestamp,
    /// The maximum number of unanswered requests of the answerer.
    pub pending_max: usize,
}

/// The consent of a guardian to a request of its toy.
#[derive(Debug)]
pub struct Consent {
    /// The request, as the guardian has seen it.
    pub request: FriendRequest,
    /// The toy's remark for its friend.
    pub remark: String,
    /// The users who answer for the recipient.
    pub answerers: Vec<UserId>,
    /// As in the new request.
    pub askers: Vec<String>,
    /// As in the new request.
    pub blockers: Vec<String>,
    /// The maximum number of unanswered requests of the recipient.
    pub pending_max: usize,
}

/// The numbers of the two events of a new friendship.
#[derive(Debug)]
pub struct Befriended {
    /// The number of the requester's event.
    pub requester_seq: Option<u64>,
    /// The number of the recipient's event.
    pub requestee_seq: Option<u64>,
}

/// The two parties of a request that was accepted.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PairRow {
    requester: String,
    requester_kind: String,
    requestee: String,
    requestee_kind: String,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct RefusalRow {
    requester: String,
    requestee: String,
    refuser: String,
    refused_at: f64,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct RequestRow {
    uid: String,
    requester: String,
    requester_kind: String,
    requestee: String,
    requestee_kind: String,
    answerer: String,
    words: String,
    remark: String,
    avatar: String,
    nickname: String,
    toy_name: String,
    status: i64,
}

impl RequestRow {
    fn into_request(self) -> Result<FriendRequest, StoreError> {
        let requester = stored_party(&self.requester_kind, &self.requester)?;
        let requestee = stored_party(&self.requestee_kind, &self.requestee)?;
        let answerer = match &self.answerer {
            id if id == requester.id() => requester.clone(),
            id if id == requestee.id() => requestee.clone(),
            // From an older version, or without an answerer.
            user => Party::User(stored(user)?),
        };
        Ok(FriendRequest {
            id: stored(&self.uid)?,
            requester,
            requestee,
            answerer,
            info: self.words,
            remark: self.remark,
            avatar: stored(&self.avatar)?,
            nickname: self.nickname,
            toy_name: self.toy_name,
            status: match self.status {
                0 => RequestStatus::Pending,
                1 => RequestStatus::Accepted,
                2 => RequestStatus::Refused,
                _ => return Err(StoreError::Corrupt("unknown status of a request".into())),
            },
        })
    }
}

impl Store {
    /// Stores a request and appends events for the users who may answer it. Returns the numbers of those events; none
    /// if the recipient has blocked the requesting side. Refused with `AlreadyFriends`, `Blocked`, `AlreadyRequested`,
    /// `RefusedLately` or `RequestsFull`.
    pub async fn add_request(
        &self,
        new: NewFriendRequest,
        now: Timestamp,
    ) -> Result<Vec<(UserId, Option<u64>)>, StoreError> {
        let NewFriendRequest {
            request,
            answerers,
            askers,
            blockers,
            is_by_guardian,
            families,
            refused_since,
            pending_max,
        } = new;
        let (requester, requestee) = (request.requester.id(), request.requestee.id());
        let event = request.event();
        let variables = vars! {
            id: request.id.as_str(), requester: requester, requestee: requestee,
            requester_kind: request.requester.kind().as_str(), requestee_kind: request.requestee.kind().as_str(),
            info: request.info.as_str(), remark: request.remark.as_str(), avatar: request.avatar.as_str(),
            nickname: request.nickname.as_str(), toy_name: request.toy_name.as_str(),
            pending_max: pending_max as i64, now: now,
        };
        let (variables, event, answerers, askers, request) = (&variables, &event, &answerers, &askers, &request);
        let (families, blockers) = (&families, &blockers);
        let _turns = self.turns.of(requester, requestee).await;
        self.transact(|tx| async move {
            // A refusal in the future was recorded with a wrong clock, before ages were measured.
            let age = clock::age_of(now);
            let lately = |refusal: &RefusalRow| refusal.refused_at > refused_since && refusal.refused_at <= age;
            // A guardian's refusal of a request of its own toy does not refuse requests of the guardian itself.
            let is_of_others = |refusal: &RefusalRow| !families[0].contains(&refusal.refuser);
            let is_of_toy = |refusal: &RefusalRow| {
                !is_by_guardian && (refusal.requester.as_str(), refusal.requestee.as_str()) == (requester, requestee)
            };
            let refusals = tx.refusals(families).await?.into_iter();
            let mut binding =
                refusals.filter(|refusal| lately(refusal) && (is_of_others(refusal) || is_of_toy(refusal)));
            if let Some(refusal) = binding.next() {
                return Err(StoreError::Refused(Refusal::RefusedLately(refusal.refused_at as u64)));
            }
            let is_hidden = request.answerer == request.requestee && tx.has_blocked(blockers, askers).await?;
            let mut variables = variables.clone();
            variables.insert("answerer", if is_hidden { NOBODY } else { request.answerer.id() });
            tx.run(ADD_REQUEST, variables).await?;
            if is_hidden { Ok(Vec::new()) } else { tx.append_to_all(answerers, event).await }
        })
        .await
    }

    /// Sends a request to its recipient, after the consent of a guardian of the requesting toy. Returns the numbers of
    /// the recipient's events. Refused with `UnknownRequest`, `AlreadyAnswered` or `RequestsFull`.
    pub async fn consent_to_request(&self, consent: Consent) -> Result<Vec<(UserId, Option<u64>)>, StoreError> {
        let Consent { request, remark, answerers, askers, blockers, pending_max } = consent;
        let (requester, requestee) = (request.requester.id(), request.requestee.id());
        let event = request.event();
        let variables = vars! {
            id: request.id.as_str(), asked: request.answerer.id(), remark: remark, pending_max: pending_max as i64,
        };
        let (variables, event, answerers) = (&variables, &event, &answerers);
        let (askers, blockers) = (&askers, &blockers);
        let _turns = self.turns.of(requester, requestee).await;
        self.transact(|tx| async move {
            let is_hidden = tx.has_blocked(blockers, askers).await?;
            let mut variables = variables.clone();
            variables.insert("answerer", if is_hidden { NOBODY } else { requestee });
            tx.run(CONSENT, variables).await?;
            if is_hidden { Ok(Vec::new()) } else { tx.append_to_all(answerers, event).await }
        })
        .await
    }

    /// The requests that one of these parties may answer or has answered, newest first, at most `limit`.
    pub async fn requests_for(&self, answerers: Vec<String>, limit: usize) -> Result<Vec<FriendRequest>, StoreError> {
        let mut reply = self
            .run(
                "SELECT *, record::id(id) AS uid FROM request WHERE answerer IN $answerers
                    ORDER BY created_at DESC LIMIT $limit",
                vars! { answerers: answerers, limit: limit as i64 },
            )
            .await?;
        reply.rows::<RequestRow>(0)?.into_iter().map(RequestRow::into_request).collect()
    }

    /// The request of this id.
    pub async fn request(&self, id: &RequestId) -> Result<Option<FriendRequest>, StoreError> {
        let mut reply = self
            .run("SELECT *, record::id(id) AS uid FROM ONLY type::record('request', $id)", vars! { id: id.as_str() })
            .await?;
        reply.optional::<RequestRow>(0)?.map(RequestRow::into_request).transpose()
    }

    /// Refuses a request, as its answerer `asked`. The refusal is recorded for each member of the requesting family and
    /// each member of the other one, so that a user who leaves a family later is still bound by it. Refused itself with
    /// `UnknownRequest` or `AlreadyAnswered`.
    pub async fn refuse_request(
        &self,
        id: &RequestId,
        asked: &Party,
        families: [Vec<String>; 2],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let [askers, others] = families;
        self.run(
            "{
                LET $request = (SELECT * FROM ONLY type::record('request', $id));
                IF $request = NONE { THROW 'toyhub:unknown_request' };
                IF $request.status != 0 OR $request.answerer != $asked { THROW 'toyhub:already_answered' };
                UPDATE type::record('request', $id) SET status = 2;
                DELETE type::record('pending', [$request.requester, $request.requestee]);
                FOR $from IN $askers {
                    FOR $to IN $others {
                        UPSERT type::record('refusal', [$from, $to]) SET requester = $from, requestee = $to,
                            refuser = $asked, refused_at = $age;
                    };
                };
                RETURN NONE;
            }",
            vars! { id: id.as_str(), asked: asked.id(), askers: askers, others: others, age: clock::age_of(now) },
        )
        .await?;
        Ok(())
    }

    /// Accepts a request, as its answerer `asked`: a chat, an entry and an event on both sides, and status 1; or
    /// nothing.
    ///
    /// A request in the other direction is accepted, too. Refused with `UnknownRequest`, `AlreadyAnswered`,
    /// `AlreadyFriends` or `BookFull`.
    pub async fn accept_request(
        &self,
        (id, asked): (&RequestId, &Party),
        chat: &ChatId,
        (entry_of_requester, entry_of_requestee): (NewEntry, NewEntry),
        friends_max: usize,
        now: Timestamp,
    ) -> Result<Befriended, StoreError> {
        let variables = vars! {
            id: id.as_str(), asked: asked.id(),
        };
        let (variables, entries) = (&variables, [&entry_of_requester, &entry_of_requestee]);
        self.transact(|tx| async move {
            let pair = tx.one::<PairRow>(ACCEPT_REQUEST, variables.clone()).await?;
            let pair = pair.ok_or_else(|| StoreError::Corrupt("a request has no parties".into()))?;
            let parties = [pair.requester.as_str(), pair.requestee.as_str()];
            tx.befriend(Pair { parties, entries, chat, friends_max }, now).await?;
            let requester = stored_party(&pair.requester_kind, &pair.requester)?;
            let requestee = stored_party(&pair.requestee_kind, &pair.requestee)?;
            let added = |friend: &Party| Event::FriendAdded { friend: friend.clone(), chat: chat.clone() };
            Ok(Befriended {
                requester_seq: tx.append_event(&requester, &added(&requestee)).await?,
                requestee_seq: tx.append_event(&requestee, &added(&requester)).await?,
            })
        })
        .await
    }
}

impl Transaction<'_> {
    /// The refusals of requests of one family to another, the latest first.
    async fn refusals(&self, [askers, asked]: &[Vec<String>; 2]) -> Result<Vec<RefusalRow>, StoreError> {
        let mut found = Vec::new();
        for asker in askers {
            let sql = "SELECT requester, requestee, refuser, refused_at FROM type::record('refusal', $keys)
                WHERE requestee IN $asked";
            found.extend(self.rows::<RefusalRow>(sql, vars! { keys: keys_of(asker), asked: asked.clone() }).await?);
        }
        found.sort_by(|a, b| b.refused_at.total_cmp(&a.refused_at));
        Ok(found)
    }

    /// Copies the refusals that bind a family, as the requesting or the other one, for others who join it. A guardian's
    /// refusal of a request of its own toy binds that toy only.
    pub(super) async fn share_refusals(&self, [family, own]: &[Vec<String>; 2]) -> Result<(), StoreError> {
        let mut shared = Vec::new();
        for member in family {
            let sql = "SELECT requester, requestee, refuser, refused_at FROM type::record('refusal', $keys)";
            let rows = self.rows::<RefusalRow>(sql, vars! { keys: keys_of(member) }).await?;
            for row in rows.into_iter().filter(|row| !family.contains(&row.refuser)) {
                shared.extend(
                    own.iter().map(|id| (id.clone(), row.requestee.clone(), row.refuser.clone(), row.refused_at)),
                );
            }
        }
        let sql = "SELECT requester, requestee, refuser, refused_at FROM refusal WHERE requestee IN $others";
        let rows = self.rows::<RefusalRow>(sql, vars! { others: family.clone() }).await?;
        for row in rows.into_iter().filter(|row| row.refuser != row.requester) {
            shared
                .extend(own.iter().map(|id| (row.requester.clone(), id.clone(), row.refuser.clone(), row.refused_at)));
        }
        for (from, to, refuser, at) in shared.into_iter().filter(|(from, to, ..)| from != to) {
            self.run(SHARE_REFUSAL, vars! { from: from, to: to, refuser: refuser, at: at }).await?;
        }
        Ok(())
    }

    /// Whether one of `owners` has blocked one of `others`.
    async fn has_blocked(&self, owners: &[String], others: &[String]) -> Result<bool, StoreError> {
        let sql = "SELECT VALUE other FROM type::record('block', $keys) WHERE other IN $others LIMIT 1";
        for owner in owners {
            let blocked = self.rows::<String>(sql, vars! { keys: keys_of(owner), others: others.to_vec() }).await?;
            if !blocked.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

const SHARE_REFUSAL: &str = "{
    LET $was = (SELECT VALUE refused_at FROM ONLY type::record('refusal', [$from, $to]));
    IF $was = NONE OR $was < $at {
        UPSERT type::record('refusal', [$from, $to]) SET requester = $from, requestee = $to, refuser = $refuser,
            refused_at = $at;
    };
    RETURN NONE;
}";

const ADD_REQUEST: &str = "{
    IF record::exists(type::record('friend', [$requester, $requestee])) { THROW 'toyhub:already_friends' };
    IF record::exists(type::record('block', [$requester, $requestee])) { THROW 'toyhub:blocked' };
    IF record::exists(type::record('pending', [$requester, $requestee])) { THROW 'toyhub:already_requested' };
    LET $waiting = (SELECT VALUE status FROM request WHERE answerer = $answerer);
    IF $answerer != '000000000000000000000000'
        AND array::len(array::filter($waiting, |$status: int| $status = 0)) >= $pending_max
        { THROW 'toyhub:requests_full' };
    CREATE type::record('pending', [$requester, $requestee]) SET request = $id;
    CREATE type::record('request', $id) SET requester = $requester, requester_kind = $requester_kind,
        requestee = $requestee, requestee_kind = $requestee_kind, answerer = $answerer, words = $info,
        remark = $remark, avatar = $avatar, nickname = $nickname, toy_name = $toy_name, status = 0,
        created_at = $now;
    RETURN NONE;
}";

const CONSENT: &str = "{
    LET $request = (SELECT * FROM ONLY type::record('request', $id));
    IF $request = NONE { THROW 'toyhub:unknown_request' };
    IF $request.status != 0 OR $request.answerer != $asked { THROW 'toyhub:already_answered' };
    LET $waiting = (SELECT VALUE status FROM request WHERE answerer = $answerer);
    IF $answerer != '000000000000000000000000'
        AND array::len(array::filter($waiting, |$status: int| $status = 0)) >= $pending_max
        { THROW 'toyhub:requests_full' };
    UPDATE type::record('request', $id) SET answerer = $answerer, remark = $remark;
    RETURN NONE;
}";

const ACCEPT_REQUEST: &str = "{
    LET $request = (SELECT * FROM ONLY type::record('request', $id));
    IF $request = NONE { THROW 'toyhub:unknown_request' };
    IF $request.status != 0 OR $request.answerer != $asked { THROW 'toyhub:already_answered' };
    LET $a = $request.requester;
    LET $b = $request.requestee;
    IF record::exists(type::record('friend', [$a, $b])) { THROW 'toyhub:already_friends' };
    UPDATE type::record('request', $id) SET status = 1;
    DELETE type::record('pending', [$a, $b]);
    FOR $pair IN [[$a, $b], [$b, $a]] {
        LET $was = (SELECT requestee, refuser, refused_at FROM ONLY type::record('refusal', $pair));
        IF $was != NONE AND $was.refuser = $was.requestee
            { DELETE refusal WHERE refuser = $was.refuser AND refused_at = $was.refused_at };
        DELETE type::record('refusal', $pair);
    };
    LET $crossing = (SELECT VALUE request FROM ONLY type::record('pending', [$b, $a]));
    IF $crossing != NONE {
        UPDATE type::record('request', $crossing) SET status = 1;
        DELETE type::record('pending', [$b, $a]);
    };
    RETURN {
        requester: $a, requester_kind: $request.requester_kind,
        requestee: $b, requestee_kind: $request.requestee_kind,
    };
}";
