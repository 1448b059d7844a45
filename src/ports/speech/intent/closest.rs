//! The intent of a recording whose words are no clear command, by the sentences that it is like.
//!
//! "Play out a joy" is no command, and the model finds "play ode to joy" nearly as probable. A message is not begun so
//! easily: only the name is chosen in this way, where the words ask for a message anyway. Otherwise the hub asks first.

use super::{Intent, Known, understand_text};

/// The maximum regret of a name that is believed: the model finds it e² = 7 times less probable than what it wrote. Chosen
/// with all of models/evaluation.tsv and `tiny.en`: no half of it is unseen.
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

#[cfg(test)]
mod tests {
    use super::super::{FriendNames, Names, expected, understand};
    use super::*;
    use crate::ports::speech::grammar::Likely;
    use crate::ports::speech::languages::ENGLISH;

    const FRIENDS: [&str; 3] = ["Anna", "Hannah", "Tom"];

    fn with_names<T>(do_with: impl FnOnce(Known<'_>) -> T) -> T {
        let titles = Names::of_titles(&ENGLISH, ["Ode to Joy", "London Bridge"]);
        let friends = FRIENDS.map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
        let friends = Names::of_friends(&ENGLISH, friends);
        do_with(Known { titles: &titles, friends: &friends, toy_name: "Teddy", is_sure: true, likely: &[] })
    }

    fn heard(words: &str, likely: &[(&str, f32)]) -> Intent {
        let likely: Vec<Likely> =
            likely.iter().map(|(text, regret)| Likely { text: (*text).into(), regret: *regret }).collect();
        with_names(|known| understand(words, Known { likely: &likely, ..known }))
    }

    #[test]
    fn unclear_words_are_the_sentence_that_is_nearest() {
        let near = [("play ode to joy", 4.0), ("play london bridge", 5.0)];
        assert_eq!(heard("play out a joy", &near), Intent::Play(0));
        assert_eq!(heard("play out a joy", &[]), Intent::Unknown);
        assert_eq!(heard("make it longer", &[("make it louder", 1.0)]), Intent::Louder);
        // A sentence that says nothing is passed over.
        let vague = [("send a message", 0.0), ("send a message to tom", 0.5)];
        assert_eq!(heard("send a message tonk", &vague), Intent::Message(2));
    }

    #[test]
    fn clear_words_stay_as_they_are() {
        assert_eq!(heard("play london bridge", &[("play ode to joy", 0.0)]), Intent::Play(1));
        assert_eq!(heard("send a message to tom", &[("send a message to anna", 0.0)]), Intent::Message(2));
    }

    #[test]
    fn a_message_is_begun_only_if_the_words_ask_for_one_and_the_name_is_near() {
        assert_eq!(heard("send a message to thumb", &[("send a message to tom", 1.5)]), Intent::Message(2));
        assert_eq!(heard("send a message to thumb", &[("send a message to tom", 2.5)]), Intent::ConfirmFriend(2));
        // Otherwise the hub asks, however near the sentence is.
        assert_eq!(heard("and the massage thumb", &[("send a message to tom", 0.0)]), Intent::ConfirmFriend(2));
        assert_eq!(heard("a message for the bomb", &[("a message for tom", 0.0)]), Intent::ConfirmFriend(2));
        assert_eq!(heard("where is my ball", &[("call tom", 5.5)]), Intent::ConfirmFriend(2));
        // Two friends who sound alike.
        let alike = [("send a message to anna", 0.5), ("send a message to tom", 2.0)];
        assert_eq!(heard("send a message to arma", &alike), Intent::AskFriend(0, 2));
        let apart = [("send a message to anna", 0.0), ("send a message to tom", 2.5)];
        assert_eq!(heard("send a message to arma", &apart), Intent::Message(0));
    }

    #[test]
    fn only_unclear_words_are_compared() {
        let is_compared = |words: &str| with_names(|known| expected(words, known).is_some());
        for words in ["play out a joy", "i love you", "send a message to nobody", "where is my ball"] {
            assert!(is_compared(words), "{words}");
        }
        for words in ["play ode to joy", "louder", "call tom", "yes", "no", "remind me in ten minutes to sleep"] {
            assert!(!is_compared(words), "{words}");
        }
    }
}
