//! The intent of a recording whose words are no clear command, by the sentences that it is like.
//!
//! "Play out a joy" is no command, and the model finds "play ode to joy" nearly as probable. A message is never begun
//! in this way: the hub asks first whether it is for this friend.

use super::{Clarity, Intent, Known, Likely, courtesy, understand_text, word};

/// Up to which regret a sentence counts that a recording is like: at 1 the model finds it e = 2.7 times less probable than
/// what it wrote, at 3 twenty times.
///
/// A false action is worse than none, so the shorter a sentence is, the nearer it must be: "go on" is like much that a child
/// may say, "send a message to grandma" hardly. Words of courtesy do not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of a sentence with a title, and of any other one at most.
    pub most: f32,
    /// Of one without a name, such as "go on", for each word behind the first.
    pub plain: f32,
    /// Of one with a friend, about whom the hub then asks, for each word behind the first.
    pub friend: f32,
    /// If the regret of a sentence of another meaning is larger by no more than this, neither is taken.
    pub rival: f32,
}

impl Limits {
    /// Those that were chosen by scripts/evaluate-models --choose on one half of its clips, see models/README.md.
    pub const CHOSEN: Self = Self { most: 6.0, plain: 0.0, friend: 1.5, rival: 0.0 };

    /// The limit of a sentence.
    fn of(&self, near: &Near) -> f32 {
        let for_each_word = match near.intent {
            Intent::Play(_) => return self.most,
            intent if friend_of(intent).is_some() => self.friend,
            _ => self.plain,
        };
        (for_each_word * near.words.saturating_sub(1) as f32).min(self.most)
    }
}

/// The meanings of a recording: that of its words, and those of the sentences that it is like.
#[derive(Debug)]
pub struct Meanings {
    by_words: Intent,
    /// Those that are clear, that with the least regret first.
    by_sentence: Vec<Near>,
}

/// The meaning of a sentence that the recording is like.
#[derive(Debug, Clone, Copy)]
struct Near {
    intent: Intent,
    regret: f32,
    /// The number of words.
    words: usize,
}

impl Meanings {
    /// The meanings of the `transcript` and of the sentences that are known to be likely.
    pub fn of(transcript: &str, known: Known<'_>) -> Self {
        let by_words = understand_text(transcript, known);
        // Nothing was heard clearly, so a message of few words is asked about.
        let likely = if is_clear(by_words) { &[] } else { known.likely };
        let unclear = Known { clarity: Clarity::Unclear, likely: &[], ..known };
        let lexicon = known.titles.lexicon;
        let by_sentence = likely.iter().map(|Likely { text, regret }| Near {
            intent: understand_text(text, unclear),
            regret: *regret,
            words: courtesy::without_courtesy(&word::words(text, lexicon), lexicon).len(),
        });
        Self { by_words, by_sentence: by_sentence.filter(|near| is_clear(near.intent)).collect() }
    }

    /// The meaning that counts.
    pub fn choose(&self, limits: &Limits) -> Intent {
        let Some(best) = self.by_sentence.first().filter(|best| best.regret <= limits.of(best)) else {
            return self.by_words;
        };
        let chosen = match friend_of(best.intent) {
            Some(friend) => self.ask_about(friend, best, limits),
            None => self.take(best, limits),
        };
        chosen.unwrap_or(self.by_words)
    }

    /// The question about a friend. A message is never begun without it, however near the sentence is.
    fn ask_about(&self, friend: usize, best: &Near, limits: &Limits) -> Option<Intent> {
        if self.by_words == Intent::NoSuchTitle {
            return None;
        }
        let other = self.rivals(best, limits).find_map(|intent| friend_of(intent).filter(|other| *other != friend));
        Some(other.map_or(Intent::ConfirmFriend(friend), |other| Intent::AskFriend(friend, other)))
    }

    /// An intent without a friend, if no other one is as near.
    fn take(&self, best: &Near, limits: &Limits) -> Option<Intent> {
        let is_wanted = match self.by_words {
            // The words ask for music, or for a message.
            Intent::NoSuchTitle => matches!(best.intent, Intent::Play(_)),
            Intent::NoSuchFriend | Intent::AskFriend(..) => false,
            _ => true,
        };
        if !is_wanted {
            return None;
        }
        match (best.intent, self.rivals(best, limits).find(|intent| *intent != best.intent)) {
            (intent, None) => Some(intent),
            (Intent::Play(first), Some(Intent::Play(second))) => Some(Intent::AskTitle(first, second)),
            _ => None,
        }
    }

    /// The meanings of the other sentences that are nearly as probable as the best one.
    fn rivals(&self, best: &Near, limits: &Limits) -> impl Iterator<Item = Intent> {
        let limit = best.regret + limits.rival;
        self.by_sentence.iter().skip(1).filter(move |near| near.regret <= limit).map(|near| near.intent)
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
        do_with(Known { titles: &titles, friends: &friends, toy_name: "Teddy", clarity: Clarity::Clear, likely: &[] })
    }

    fn heard(words: &str, likely: &[(&str, f32)]) -> Intent {
        let likely: Vec<Likely> =
            likely.iter().map(|(text, regret)| Likely { text: (*text).into(), regret: *regret }).collect();
        with_names(|known| understand(words, Known { likely: &likely, ..known }))
    }

    const MOST: f32 = Limits::CHOSEN.most;
    const PLAIN: f32 = Limits::CHOSEN.plain;
    const RIVAL: f32 = Limits::CHOSEN.rival;

    #[test]
    fn unclear_words_are_the_sentence_that_is_nearest() {
        let near = [("play ode to joy", MOST - RIVAL - 0.1), ("play london bridge", MOST)];
        assert_eq!(heard("play out a joy", &near), Intent::Play(0));
        assert_eq!(heard("play out a joy", &[]), Intent::Unknown);
        assert_eq!(heard("make it longer", &[("make it louder", 2.0 * PLAIN)]), Intent::Louder);
        // A sentence that says nothing is passed over.
        let vague = [("send a message", 0.0), ("send a message to tom", 0.5)];
        assert_eq!(heard("send a message tonk", &vague), Intent::ConfirmFriend(2));
    }

    #[test]
    fn the_shorter_a_sentence_is_the_nearer_it_must_be() {
        assert_eq!(heard("good night", &[("go on", PLAIN)]), Intent::Resume);
        assert_eq!(heard("good night", &[("go on", PLAIN + 0.1)]), Intent::Unknown);
        assert_eq!(
            heard("good night", &[("oh please go on", PLAIN + 0.1)]),
            Intent::Unknown,
            "courtesy does not count"
        );
        assert_eq!(heard("tell me a little", &[("tell me a riddle", 3.0 * PLAIN)]), Intent::Riddle);
        assert_eq!(heard("tell me a little", &[("tell me a riddle", 3.0 * PLAIN + 0.1)]), Intent::Unknown);
        assert_eq!(heard("they number free", &[("play number 3", 2.0 * PLAIN)]), Intent::PlayNumber(3));
        assert_eq!(heard("they number free", &[("play number 3", 2.0 * PLAIN + 0.1)]), Intent::Unknown);
        assert_eq!(heard("play out a joy", &[("play ode to joy", MOST)]), Intent::Play(0));
        assert_eq!(heard("play out a joy", &[("play ode to joy", MOST + 0.1)]), Intent::Unknown);
    }

    #[test]
    fn of_two_meanings_that_are_as_near_neither_is_taken() {
        let louder = |other: &str, regret: f32| heard("make it longer", &[("make it louder", 0.0), (other, regret)]);
        assert_eq!(louder("make it softer", RIVAL), Intent::Unknown);
        assert_eq!(louder("make it softer", RIVAL + 0.1), Intent::Louder);
        assert_eq!(louder("louder", RIVAL), Intent::Louder);
        let songs = [("play ode to joy", 0.0), ("play london bridge", RIVAL)];
        assert_eq!(heard("play out a joy", &songs), Intent::AskTitle(0, 1));
    }

    #[test]
    fn who_asks_for_a_title_or_for_a_message_gets_no_other_thing() {
        let near = |words: &str, sentence: &str| heard(words, &[(sentence, 0.0)]);
        for sentence in ["go on", "play ode to joy"] {
            assert_eq!(near("send a message to thumb", sentence), Intent::NoSuchFriend);
        }
        for sentence in ["stop", "talk to tom"] {
            assert_eq!(near("play the song about thumbs", sentence), Intent::NoSuchTitle);
        }
        assert_eq!(near("play the song about thumbs", "play ode to joy"), Intent::Play(0));
    }

    #[test]
    fn clear_words_stay_as_they_are() {
        assert_eq!(heard("play london bridge", &[("play ode to joy", 0.0)]), Intent::Play(1));
        assert_eq!(heard("send a message to tom", &[("send a message to anna", 0.0)]), Intent::Message(2));
    }

    #[test]
    fn a_message_is_never_begun_without_a_question() {
        for (words, sentence, length) in [
            ("send a message to thumb", "send a message to tom", 5.0),
            ("and the massage thumb", "send a message to tom", 5.0),
            ("a message for the bomb", "a message for tom", 4.0),
            ("where is my ball", "call tom", 2.0),
        ] {
            let limit = (Limits::CHOSEN.friend * (length - 1.0)).min(MOST);
            assert_eq!(heard(words, &[(sentence, 0.0)]), Intent::ConfirmFriend(2), "{words}");
            assert_eq!(heard(words, &[(sentence, limit)]), Intent::ConfirmFriend(2), "{words}");
            assert_eq!(heard(words, &[(sentence, limit + 0.1)]), heard(words, &[]), "{words}");
        }
        // Two friends who sound alike.
        let alike = [("send a message to anna", 0.5), ("send a message to tom", 0.5 + RIVAL)];
        assert_eq!(heard("send a message to arma", &alike), Intent::AskFriend(0, 2));
        let apart = [("send a message to anna", 0.0), ("send a message to tom", RIVAL + 0.1)];
        assert_eq!(heard("send a message to arma", &apart), Intent::ConfirmFriend(0));
    }

    #[test]
    fn only_unclear_words_are_compared() {
        let names_max = 5;
        let is_compared = |words: &str| with_names(|known| expected(words, known, names_max).is_some());
        for words in ["play out a joy", "i love you", "send a message to nobody", "where is my ball"] {
            assert!(is_compared(words), "{words}");
        }
        for words in ["play ode to joy", "louder", "call tom", "yes", "no", "remind me in ten minutes to sleep"] {
            assert!(!is_compared(words), "{words}");
        }
        assert!(with_names(|known| expected("play out a joy", known, names_max - 1).is_none()), "too many names");
    }
}
