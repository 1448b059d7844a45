//! Sentences that name no friend start no message, whoever is in the address book.

use super::*;

/// Everyday beginnings, most of which are also those of a command, and what may follow.
const TALK: [(&[&str], &[&str]); 12] = [
    (
        &["tell me", "can you tell me", "please tell me", "i want you to tell me", "tell us"],
        &[
            "a story",
            "a joke",
            "a riddle",
            "something funny",
            "something nice",
            "a secret",
            "the time",
            "your name",
            "more",
            "about dinosaurs",
            "about the moon",
            "about space",
            "a story about a dragon",
            "a story about trains",
            "why the sky is blue",
            "why it is dark",
            "how old you are",
            "what you eat",
            "where the sun goes",
            "a fairy tale",
            "something about animals",
            "another story",
            "that again",
            "the news",
            "a bedtime story",
        ],
    ),
    (
        &["i want", "i need", "i would like", "give me", "can i have"],
        &[
            "a story",
            "some water",
            "a cookie",
            "my teddy bear",
            "the red ball",
            "to sleep",
            "to go home",
            "to play outside",
            "a new book",
            "an apple",
            "my blanket",
            "to talk",
            "to send a letter",
            "to call someone",
            "to say something",
            "a hug",
            "to tell you something",
            "to sing",
            "the blue one",
            "a message",
        ],
    ),
    (
        &["talk", "talk to me", "talk about", "speak", "say"],
        &[
            "about the zoo",
            "slowly",
            "louder",
            "a poem",
            "something",
            "good night",
            "hello",
            "it again",
            "please",
            "nothing",
        ],
    ),
    (
        &["play", "sing", "sing me", "play me", "i want to hear"],
        &[
            "a song",
            "some music",
            "something quiet",
            "something else",
            "with me",
            "the piano",
            "a lullaby",
            "outside",
            "hide and seek",
            "the next one",
            "football",
            "a game",
            "my favourite",
            "that one again",
            "the drum",
        ],
    ),
    (
        &["call", "can you call", "send", "send it to", "i want to send"],
        &[
            "me tomorrow",
            "me later",
            "the fire engine",
            "a taxi",
            "the police",
            "them back",
            "help",
            "it back",
            "something",
            "a picture",
            "me a song",
            "the kitchen",
            "everybody",
            "nobody",
            "the moon",
        ],
    ),
    (
        &["i saw", "we have", "look at", "where is", "i like"],
        &[
            "a big red bus",
            "the dog in the garden",
            "a butterfly",
            "my shoes",
            "the rabbit",
            "a rainbow",
            "an elephant",
            "the swimming pool",
            "my birthday cake",
            "ice cream",
            "the train",
            "a squirrel",
            "the yellow one",
            "strawberries",
            "the playground",
            "a penguin",
            "this game",
            "the snow",
            "a spider",
            "the stars",
        ],
    ),
    (
        &["what is", "who is", "why is", "how is", "when is"],
        &[
            "that",
            "the weather",
            "it raining",
            "a volcano",
            "the biggest animal",
            "dinner",
            "your favourite colour",
            "the moon",
            "it over",
            "bedtime",
            "the sun so hot",
            "water wet",
            "a planet",
            "christmas",
            "there a noise",
        ],
    ),
    (
        &["my tummy", "the baby", "our teacher", "the cat", "my brother"],
        &[
            "hurts",
            "is sleeping",
            "is hungry",
            "told me something",
            "went to school",
            "said no",
            "has a new bike",
            "is funny",
            "wants milk",
            "sent a letter",
            "called yesterday",
            "is talking",
            "can not sleep",
            "likes cheese",
            "is under the bed",
        ],
    ),
    (
        &["let us", "can we", "shall we", "i am going to", "we will"],
        &[
            "go to the zoo",
            "build a tower",
            "bake a cake",
            "read a book",
            "talk about it",
            "call the doctor",
            "tell them",
            "say thank you",
            "send a card",
            "paint a house",
            "look at the fish",
            "have lunch",
            "sing together",
            "speak english",
            "write a letter",
            "go to sleep now",
            "play outside",
            "wash our hands",
            "talk to the toy",
            "make a message",
        ],
    ),
    (
        &["do you", "did you", "could you", "will you", "can you"],
        &[
            "know a song",
            "talk to animals",
            "tell stories",
            "call me",
            "say cheese",
            "send letters",
            "speak chinese",
            "like ice cream",
            "hear the bird",
            "see the moon",
            "play with me",
            "remember my name",
            "sing in the bath",
            "tell the time",
            "have a message",
        ],
    ),
    (
        &["a message", "a message for me", "the message", "the phone", "the letter"],
        &[
            "is here",
            "came today",
            "for me",
            "from the zoo",
            "is gone",
            "was long",
            "is ringing",
            "in the box",
            "about the party",
            "is very nice",
            "on the table",
            "please",
            "was not for you",
            "again",
            "is too loud",
            "makes me happy",
            "is over",
            "has a stamp",
            "was funny",
            "is lost",
        ],
    ),
    (
        &["help me", "come here", "good night", "thank you", "hello"],
        &[
            "please",
            "now",
            "teddy",
            "my friend",
            "again",
            "my bear",
            "everybody",
            "and good bye",
            "because i am scared",
            "toy",
        ],
    ),
];

fn sentences() -> Vec<String> {
    let made = TALK.iter().flat_map(|(starts, ends)| {
        starts.iter().flat_map(|start| ends.iter().map(move |end| format!("{start} {end}")))
    });
    made.collect()
}

fn names() -> Vec<&'static str> {
    lines(include_str!("names.txt")).flat_map(str::split_whitespace).collect()
}

fn book(names: &[&str]) -> Names {
    Names::of_friends(&ENGLISH, names.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" }))
}

#[test]
fn a_sentence_without_a_friend_starts_no_message_whoever_the_friend_is() {
    let (sentences, names) = (sentences(), names());
    assert!(sentences.len() >= 1000 && names.len() >= 200, "{} and {}", sentences.len(), names.len());
    let titles = Names::of_titles(&ENGLISH, TITLES);
    let understand =
        |said: &str, friends: &Names| understand(said, Known { titles: &titles, friends, toy_name: "Teddy" });
    let (all, alone): (Names, Vec<Names>) = (book(&names), names.iter().map(|name| book(&[name])).collect());
    let (mut messages, mut asked) = (Vec::new(), Vec::new());
    for said in &sentences {
        // A name that is found alone is found among all, too, perhaps with another one like it.
        if !matches!(understand(said, &all), Intent::Message(_) | Intent::AskFriend(..) | Intent::ConfirmFriend(_)) {
            continue;
        }
        for (name, friends) in names.iter().zip(&alone) {
            match understand(said, friends) {
                Intent::Message(_) => messages.push((said, name)),
                Intent::ConfirmFriend(_) => asked.push((said, name)),
                _ => {}
            }
        }
    }
    eprintln!("asked about {} of {}: {asked:?}", asked.len(), sentences.len() * names.len());
    assert!(messages.is_empty(), "{messages:?}");
    assert!(asked.len() * 1000 < sentences.len() * names.len(), "{asked:?}");
}
