//! The intent of a recording whose words are no clear command, by the sentences that it is like.
//!
//! "Play out a joy" is no command, and the model finds "play ode to joy" nearly as probable. A message is never begun
//! in this way: the hub asks first whether it is for this friend.

use super::{Intent, Known, understand_text};

/// Up to which regret a sentence counts that a recording is like: at 1 the model finds it e = 2.7 times less probable than
/// what it wrote, at 3 twenty times.
///
/// A false action is worse than none, so the shorter a sentence is, the nearer it must be: "go on" is like much that a child
/// may say, "play twinkle twinkle little star" hardly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of a sentence without a name, such as "go on".
    pub plain: f32,
    /// Of one with a title or a number.
    pub named: f32,
    /// Of one with a friend, about whom the hub then asks.
    pub friend: f32,
    /// If the regret of a sentence of another meaning is larger by no more than this, neither is taken.
    pub rival: f32,
}

impl Limits {
    /// The limits that were chosen by scripts/evaluate-models --choose on one half of its clips, see models/README.md.
    pub const CHOSEN: Self = Self { plain: 1.0, named: 6.0, friend: 6.0, rival: 1.0 };
}

/// The meanings of a recording: that of its words, and those of the sentences that it is like.
#[derive(Debug)]
pub struct Meanings {
    by_words: Intent,
    /// Those that are clear, each with its regret, the least first.
    by_sentence: Vec<(Intent, f32)>,
}

impl Meanings {
    /// The meanings of the `transcript` and of the sentences that are known to be likely.
    pub fn of(transcript: &str, known: Known<'_>) -> Self {
        let by_words = understand_text(transcript, known);
        // Nothing was heard clearly, so a message of few words is asked about.
        let likely = if is_clear(by_words) { &[] } else { known.likely };
        let unclear = Known { is_sure: false, likely: &[], ..known };
        let by_sentence = likely.iter().map(|likely| (understand_text(&likely.text, unclear), likely.regret));
        Self { by_words, by_sentence: by_sentence.filter(|(intent, _)| is_clear(*intent)).collect() }
    }

    /// The meaning that counts.
    pub fn choose(&self, limits: &Limits) -> Intent {
        let Some((best, regret)) = self.by_sentence.first().copied() else { return self.by_words };
        let chosen = match friend_of(best) {
            Some(friend) => self.ask_about(friend, regret, limits),
            None => self.take(best, regret, limits),
        };
        chosen.unwrap_or(self.by_words)
    }

    /// The question about a friend. A message is never begun without it, however near the sentence is.
    fn ask_about(&self, friend: usize, regret: f32, limits: &Limits) -> Option<Intent> {
        if regret > limits.friend || self.by_words == Intent::NoSuchTitle {
            return None;
        }
        let other = self.rivals(regret, limits).find_map(|intent| friend_of(intent).filter(|other| *other != friend));
        Some(other.map_or(Intent::ConfirmFriend(friend), |other| Intent::AskFriend(friend, other)))
    }

    /// An intent without a friend, if it is near enough and no other one is as near.
    fn take(&self, best: Intent, regret: f32, limits: &Limits) -> Option<Intent> {
        let (limit, is_play) = match best {
            Intent::Play(_) => (limits.named, true),
            Intent::PlayNumber(_) => (limits.named, false),
            _ => (limits.plain, false),
        };
        let is_wanted = match self.by_words {
            // The words ask for music, or for a message.
            Intent::NoSuchTitle => is_play,
            Intent::NoSuchFriend | Intent::AskFriend(..) => false,
            _ => true,
        };
        if regret > limit || !is_wanted {
            return None;
        }
        match (best, self.rivals(regret, limits).find(|intent| *intent != best)) {
            (_, None) => Some(best),
            (Intent::Play(first), Some(Intent::Play(second))) => Some(Intent::AskTitle(first, second)),
            _ => None,
        }
    }

    /// The meanings of the other sentences that are nearly as probable as the best one.
    fn rivals(&self, least: f32, limits: &Limits) -> impl Iterator<Item = Intent> {
        let limit = least + limits.rival;
        self.by_sentence.iter().skip(1).filter(move |(_, regret)| *regret <= limit).map(|(intent, _)| *intent)
    }
}

/// Whether the words alone decide.
pub(super) fn is_clear(intent: Intent) -> bool {
    !matches!(intent, Intent::Unknown | Intent::NoSuchTitle | Intent::NoSuchFriend | Intent::AskFriend(..))
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
        let Limits { plain, named, rival, .. } = Limits::CHOSEN;
        let near = [("play ode to joy", named - rival - 0.1), ("play london bridge", named)];
        assert_eq!(heard("play out a joy", &near), Intent::Play(0));
        assert_eq!(heard("play out a joy", &[]), Intent::Unknown);
        assert_eq!(heard("make it longer", &[("make it louder", plain)]), Intent::Louder);
        // A sentence that says nothing is passed over.
        let vague = [("send a message", 0.0), ("send a message to tom", 0.5)];
        assert_eq!(heard("send a message tonk", &vague), Intent::ConfirmFriend(2));
    }

    #[test]
    fn the_shorter_a_sentence_is_the_nearer_it_must_be() {
        let Limits { plain, named, .. } = Limits::CHOSEN;
        assert!(plain < named);
        assert_eq!(heard("make it longer", &[("make it louder", plain + 0.1)]), Intent::Unknown);
        assert_eq!(heard("play out a joy", &[("play ode to joy", plain + 0.1)]), Intent::Play(0));
        assert_eq!(heard("play out a joy", &[("play ode to joy", named + 0.1)]), Intent::Unknown);
        assert_eq!(heard("they number free", &[("play number 3", named)]), Intent::PlayNumber(3));
    }

    #[test]
    fn of_two_meanings_that_are_as_near_neither_is_taken() {
        let Limits { rival, .. } = Limits::CHOSEN;
        assert_eq!(heard("make it later", &[("make it louder", 0.0), ("make it softer", rival)]), Intent::Unknown);
        assert_eq!(heard("make it later", &[("make it louder", 0.0), ("make it softer", rival + 0.1)]), Intent::Louder);
        assert_eq!(heard("make it later", &[("make it louder", 0.0), ("louder", rival)]), Intent::Louder);
        let songs = [("play ode to joy", 0.0), ("play london bridge", rival)];
        assert_eq!(heard("play on the bridge joy", &songs), Intent::AskTitle(0, 1));
    }

    #[test]
    fn who_asks_for_a_title_or_for_a_message_gets_no_other_thing() {
        assert_eq!(heard("send a message to thumb", &[("go on", 0.0)]), Intent::NoSuchFriend);
        assert_eq!(heard("send a message to joy", &[("play ode to joy", 0.0)]), Intent::NoSuchFriend);
        assert_eq!(heard("play the song about thumbs", &[("stop", 0.0)]), Intent::NoSuchTitle);
        assert_eq!(heard("play the song about thumbs", &[("talk to tom", 0.0)]), Intent::NoSuchTitle);
        assert_eq!(heard("play the song about thumbs", &[("play ode to joy", 0.0)]), Intent::Play(0));
    }

    #[test]
    fn clear_words_stay_as_they_are() {
        assert_eq!(heard("play london bridge", &[("play ode to joy", 0.0)]), Intent::Play(1));
        assert_eq!(heard("send a message to tom", &[("send a message to anna", 0.0)]), Intent::Message(2));
    }

    #[test]
    fn a_message_is_never_begun_without_a_question() {
        let Limits { friend, rival, .. } = Limits::CHOSEN;
        for (words, sentence) in [
            ("send a message to thumb", "send a message to tom"),
            ("and the massage thumb", "send a message to tom"),
            ("a message for the bomb", "a message for tom"),
            ("where is my ball", "call tom"),
        ] {
            assert_eq!(heard(words, &[(sentence, 0.0)]), Intent::ConfirmFriend(2), "{words}");
            assert_eq!(heard(words, &[(sentence, friend)]), Intent::ConfirmFriend(2), "{words}");
            assert_eq!(heard(words, &[(sentence, friend + 0.1)]), heard(words, &[]), "{words}");
        }
        // Two friends who sound alike.
        let alike = [("send a message to anna", 0.5), ("send a message to tom", 0.5 + rival)];
        assert_eq!(heard("send a message to arma", &alike), Intent::AskFriend(0, 2));
        let apart = [("send a message to anna", 0.0), ("send a message to tom", rival + 0.1)];
        assert_eq!(heard("send a message to arma", &apart), Intent::ConfirmFriend(0));
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
