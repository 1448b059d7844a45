//! What the hub says, in English and in Chinese.

use time::{Date, OffsetDateTime, Time, UtcOffset};

use crate::model::{Timestamp, ToyCommand};

/// The language of an answer: that of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Chinese,
}

impl Language {
    /// By what was said, and by the code of the language in which it was.
    pub(super) fn of(said: &str, code: &str) -> Self {
        let is_chinese = said.chars().any(|letter| ('\u{3400}'..='\u{9fff}').contains(&letter));
        if is_chinese || code.starts_with("zh") { Self::Chinese } else { Self::English }
    }
}

/// Day and time where the family lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    date: Date,
    time: Time,
}

impl Clock {
    pub(super) fn new(now: Timestamp, utc_offset_minutes: i32) -> Self {
        let utc = OffsetDateTime::from_unix_timestamp(now as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let offset = UtcOffset::from_whole_seconds(utc_offset_minutes.saturating_mul(60)).unwrap_or(UtcOffset::UTC);
        let local = utc.checked_to_offset(offset).unwrap_or(utc);
        Self { date: local.date(), time: local.time() }
    }
}

/// Something that the hub says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line<'a> {
    /// Nobody spoke, or nothing was understood.
    NotHeard,
    /// The prompt of a message to the friend of this remark.
    SayYourMessage(&'a str),
    /// Asks back which of two is meant.
    Which(&'a str, &'a str),
    NoSuchTitle,
    NoSuchNumber,
    NoMusic,
    NoSuchFriend,
    /// A command was carried out.
    Done(ToyCommand),
    Time(Clock),
    Date(Clock),
    Sum(i64),
    /// By the toy's name.
    WhoAreYou(&'a str),
    /// A text of the hub's own, in both languages.
    Own(&'static (&'static str, &'static str)),
}

/// For a hub without stories: short enough to be spoken in one go.
const STORIES: &[(&str, &str)] = &[
    (
        "A little bear could not sleep, for the night was so dark. He looked out of the window. There stood the moon, \
         round and bright. I will watch over you, said the moon. So the little bear closed his eyes, and when he woke, \
         the sun was there.",
        "小熊睡不着，因为夜里太黑了。他往窗外一看，圆圆的月亮正亮着呢。月亮说：我来守着你。小熊闭上眼睛睡着了，醒来的时候，太阳出来了。",
    ),
    (
        "A snail wanted to see the sea. The way is too long for you, said the hare. But the snail went a little every \
         day, and looked at every flower. When she came to the sea, she knew a hundred flowers. The hare had seen none.",
        "蜗牛想去看大海。兔子说：路太远了。蜗牛每天走一点，把路边的花都看了一遍。等她来到海边，已经认识了一百种花，兔子却一朵也没看见。",
    ),
    (
        "A duck found a red umbrella. It rained, and the mouse came under it, then the cat, and then the dog. It is too \
         small for all of us, said the cat. Then come closer, said the duck. So they did, and nobody got wet.",
        "小鸭子捡到一把红雨伞。下雨了，小老鼠来躲雨，小猫来了，小狗也来了。小猫说：伞太小了。小鸭子说：那就靠近一点。大家挤在一起，谁也没淋湿。",
    ),
];

#[rustfmt::skip]
const RIDDLES: &[(&str, &str)] = &[
    ("What has a face and two hands, but no arms and no legs? … It is a clock!", "什么东西有脸有手，却没有腿？……是钟！"),
    ("What gets wetter and wetter, the more it dries? … It is a towel!", "什么东西越擦越湿？……是毛巾！"),
    ("What has many teeth, but cannot bite? … It is a comb!", "什么东西牙齿很多，却不会咬人？……是梳子！"),
    ("It falls all day and never gets hurt. What is it? … It is the rain!", "什么东西从天上掉下来，却从来不疼？……是雨！"),
    ("What goes up the hill and down the hill, and never moves? … It is the road!", "什么东西上山又下山，自己却从来不动？……是路！"),
];

impl Line<'_> {
    /// One of the hub's own stories.
    pub(super) fn any_story() -> Self {
        Self::any(STORIES)
    }

    /// One of the hub's own riddles.
    pub(super) fn any_riddle() -> Self {
        Self::any(RIDDLES)
    }

    fn any(texts: &'static [(&'static str, &'static str)]) -> Self {
        texts.get(rand::random_range(0..texts.len().max(1))).map_or(Self::NoMusic, Self::Own)
    }

    pub(super) fn text(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Chinese => self.chinese(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::NotHeard => "I did not hear you, please say it again".into(),
            Self::SayYourMessage(remark) => format!("say your message to {remark} after the tone"),
            Self::Which(first, second) => format!("do you mean {first}, or {second}?"),
            Self::NoSuchTitle => "I do not have that one. Say: play a song, and I will find another.".into(),
            Self::NoSuchNumber => "There is no song with this number.".into(),
            Self::NoMusic => "I have no music yet. Please ask your parents for some.".into(),
            Self::NoSuchFriend => "I do not find this friend. Who shall the message be for?".into(),
            Self::Done(ToyCommand::Stop) => "All right, I stop.".into(),
            Self::Done(ToyCommand::Louder) => "All right, louder.".into(),
            Self::Done(ToyCommand::Softer) => "All right, softer.".into(),
            Self::Time(Clock { time, .. }) => {
                let (hour, minute) = (time.hour(), time.minute());
                let part = match hour {
                    0..5 | 21.. => "at night",
                    5..12 => "in the morning",
                    12..18 => "in the afternoon",
                    18..21 => "in the evening",
                };
                let hour = (hour + 11) % 12 + 1;
                match minute {
                    0 => format!("It is {hour} o'clock {part}."),
                    1..10 => format!("It is {hour} oh {minute} {part}."),
                    _ => format!("It is {hour} {minute} {part}."),
                }
            }
            Self::Date(Clock { date, .. }) => {
                format!("Today is {}, {} {}, {}.", date.weekday(), date.month(), ordinal(date.day()), date.year())
            }
            Self::Sum(value) => {
                format!("That makes {}{}.", if *value < 0 { "minus " } else { "" }, value.unsigned_abs())
            }
            Self::WhoAreYou("") => "I am your toy, and your friend.".into(),
            Self::WhoAreYou(name) => format!("I am {name}, your toy and your friend."),
            Self::Own((english, _)) => (*english).into(),
        }
    }

    fn chinese(&self) -> String {
        match self {
            Self::NotHeard => "我没听清，请再说一遍。".into(),
            Self::SayYourMessage(remark) => format!("请在提示音后对{remark}说话。"),
            Self::Which(first, second) => format!("你是说{first}，还是{second}？"),
            Self::NoSuchTitle => "我没有这个。你说放首歌，我就找别的。".into(),
            Self::NoSuchNumber => "没有这个号码的歌。".into(),
            Self::NoMusic => "我还没有音乐，请爸爸妈妈帮忙放一些进来。".into(),
            Self::NoSuchFriend => "我没找到这位朋友，你要发给谁呢？".into(),
            Self::Done(ToyCommand::Stop) => "好的，停下了。".into(),
            Self::Done(ToyCommand::Louder) => "好的，大声一点。".into(),
            Self::Done(ToyCommand::Softer) => "好的，小声一点。".into(),
            Self::Time(Clock { time, .. }) => {
                let (hour, minute) = (time.hour(), time.minute());
                let part = match hour {
                    0..6 => "凌晨",
                    6..12 => "上午",
                    12..18 => "下午",
                    18.. => "晚上",
                };
                let hour = (hour + 11) % 12 + 1;
                if minute == 0 {
                    format!("现在是{part}{hour}点。")
                } else {
                    format!("现在是{part}{hour}点{minute}分。")
                }
            }
            Self::Date(Clock { date, .. }) => {
                let weekday = ["一", "二", "三", "四", "五", "六", "日"];
                let weekday = weekday.get(usize::from(date.weekday().number_days_from_monday())).unwrap_or(&"");
                let (month, day) = (u8::from(date.month()), date.day());
                format!("今天是{}年{month}月{day}日，星期{weekday}。", date.year())
            }
            Self::Sum(value) => format!("等于{}{}。", if *value < 0 { "负" } else { "" }, value.unsigned_abs()),
            Self::WhoAreYou("") => "我是你的玩具，也是你的朋友。".into(),
            Self::WhoAreYou(name) => format!("我是{name}，是你的玩具，也是你的朋友。"),
            Self::Own((_, chinese)) => (*chinese).into(),
        }
    }
}

fn ordinal(day: u8) -> String {
    let ending = match (day, day % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wednesday, 25 November 2026, 23:05:09 UTC.
    const NOW: Timestamp = 1_795_647_909.5;

    #[test]
    fn the_clock_is_the_familys() {
        for (offset, time, date, chinese) in [
            (0, "It is 11 oh 5 at night.", "Today is Wednesday, November 25th, 2026.", "现在是晚上11点5分。"),
            (60, "It is 12 oh 5 at night.", "Today is Thursday, November 26th, 2026.", "现在是凌晨12点5分。"),
            (-305, "It is 6 o'clock in the evening.", "Today is Wednesday, November 25th, 2026.", "现在是晚上6点。"),
            (
                8 * 60 + 30,
                "It is 7 35 in the morning.",
                "Today is Thursday, November 26th, 2026.",
                "现在是上午7点35分。",
            ),
        ] {
            let clock = Clock::new(NOW, offset);
            assert_eq!(Line::Time(clock).text(Language::English), time);
            assert_eq!(Line::Date(clock).text(Language::English), date);
            assert_eq!(Line::Time(clock).text(Language::Chinese), chinese);
        }
        assert_eq!(Line::Date(Clock::new(NOW, 0)).text(Language::Chinese), "今天是2026年11月25日，星期三。");
        for odd in [f64::NAN, f64::MAX, -1e300] {
            Clock::new(odd, 1440);
        }
    }

    #[test]
    fn numbers_are_said_with_their_sign_and_days_in_their_order() {
        assert_eq!(Line::Sum(-3).text(Language::English), "That makes minus 3.");
        assert_eq!(Line::Sum(i64::MIN).text(Language::Chinese), "等于负9223372036854775808。");
        let days = [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31].map(ordinal);
        assert_eq!(days, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th", "31st"]);
    }

    #[test]
    fn the_language_is_that_of_the_question() {
        assert_eq!(Language::of("几点了", "en"), Language::Chinese);
        assert_eq!(Language::of("", "zh"), Language::Chinese);
        assert_eq!(Language::of("what's the time", "en"), Language::English);
    }
}
