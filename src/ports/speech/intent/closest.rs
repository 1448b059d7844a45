//! The intent of a recording whose words are no clear command, by the sentences that it is like.
//!
//! "Play out a joy" is no command, and the model finds "play ode to joy" nearly as probable. A message is not begun so
//! easily: only the name is chosen in this way, where the words ask for a message anyway. Otherwise the hub asks first.

use super::{Intent, Known, understand_text};

/// The maximum regret of a name that is believed: the model finds it e² = 7 times less probable than what it wrote. Chosen
/// with the even half of models/evaluation.tsv.
const BELIEVED_MAX: f32 = 2.0;

/// If the regrets of two friends differ by less, the hub asks which of them is meant.
const RIVAL_MARGIN: f32 = 2.0;

/// Whether the words alone decide.
pub(super) fn is_clear(intent: Intent) -> bool {
    !matches!(intent, Intent::Unknown | Intent::NoSuchTitle | Intent::NoSuchFriend | Intent::AskFriend(..))
}

/// The intent, if by its words alone it is `by_words`.
pub(super) fn weigh(by_words: Intent, known: Known<'_>) -> Intent {
    if is_clear(by_words) {
        return by_words;
    }
    // Nothing was heard clearly, so a message of few words is asked about.
    let by_sentence = Known { is_sure: false, likely: &[], ..known };
    let likely = known.likely.iter().map(|likely| (understand_text(&likely.text, by_sentence), likely.regret));
    let mut likely = likely.filter(|(intent, _)| is_clear(*intent));
    let Some((best, regret)) = likely.next() else { return by_words };
    let Some(friend) = friend_of(best) else {
        // What sounds like two friends is for neither a song.
        return if matches!(by_words, Intent::AskFriend(..)) { by_words } else { best };
    };
    let rival = likely
        .filter(|(_, other)| *other < regret + RIVAL_MARGIN)
        .find_map(|(intent, _)| friend_of(intent).filter(|other| *other != friend));
    if let Some(rival) = rival {
        return Intent::AskFriend(friend, rival);
    }
    let asks_for_message = matches!(by_words, Intent::NoSuchFriend | Intent::AskFriend(..));
    match best {
        Intent::Message(_) if asks_for_message && regret <= BELIEVED_MAX => best,
        _ => Intent::ConfirmFriend(friend),
    }
}

/// The friend to whom a message is begun or may be.
fn friend_of(intent: Intent) -> Option<usize> {
    match intent {
        Intent::Message(friend) | Intent::ConfirmFriend(friend) => Some(friend),
        _ => None,
    }
}
