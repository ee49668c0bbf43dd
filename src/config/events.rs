//! Classes of keyspace events, and sets of them as `notify-keyspace-events` names them.

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EventClass {
    /// Keys whatever they hold: `del`, `expire`, `rename_from`, ...
    Generic = 1 << 0,
    String = 1 << 1,
    List = 1 << 2,
    Set = 1 << 3,
    Hash = 1 << 4,
    SortedSet = 1 << 5,
    /// A key whose time was over is gone.
    Expired = 1 << 6,
    /// A key was removed to make room.
    Evicted = 1 << 7,
    Stream = 1 << 8,
    /// What modules raise: there are none here.
    Module = 1 << 9,
    /// A key has come that was not there.
    New = 1 << 10,
    /// Somebody has read a key that is not there.
    KeyMiss = 1 << 11,
}

/// The letters in the order in which they are shown, up to those that `A` stands for.
const LETTERS: [(u8, EventClass); 12] = [
    (b'g', EventClass::Generic),
    (b'$', EventClass::String),
    (b'l', EventClass::List),
    (b's', EventClass::Set),
    (b'h', EventClass::Hash),
    (b'z', EventClass::SortedSet),
    (b'x', EventClass::Expired),
    (b'e', EventClass::Evicted),
    (b't', EventClass::Stream),
    (b'd', EventClass::Module),
    (b'n', EventClass::New),
    (b'm', EventClass::KeyMiss),
];
const KEYSPACE: u16 = 1 << 12;
const KEYEVENT: u16 = 1 << 13;
/// What `A` stands for: all classes but those that would come with nearly every command.
const ALL: u16 = EventClass::New as u16 - 1;

/// The classes that are wanted, and on which channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClasses(u16);

impl EventClasses {
    /// The set that letters name in any order; nothing if one of them is unknown.
    pub fn parse(letters: &[u8]) -> Option<EventClasses> {
        let bits = |letter: &u8| match letter {
            b'A' => Some(ALL),
            b'K' => Some(KEYSPACE),
            b'E' => Some(KEYEVENT),
            _ => LETTERS.iter().find(|(own, _)| own == letter).map(|(_, class)| *class as u16),
        };
        letters.iter().map(bits).try_fold(0, |all, bits| Some(all | bits?)).map(EventClasses)
    }

    /// The letters as CONFIG GET shows them. As in Redis, beside `A` an `n` is left out.
    pub fn shown(self) -> String {
        self.letters(self.0 & ALL != ALL)
    }

    /// The letters that name this very set.
    pub fn written(self) -> String {
        self.letters(true)
    }

    fn letters(self, new: bool) -> String {
        let all = self.0 & ALL == ALL;
        let has = |class: EventClass| self.0 & class as u16 != 0;
        let mut text = String::from(if all { "A" } else { "" });
        for (letter, class) in LETTERS {
            let shows = match class {
                EventClass::KeyMiss => false,
                EventClass::New => new,
                _ => !all,
            };
            if shows && has(class) {
                text.push(char::from(letter));
            }
        }
        let last =
            [(self.keyspace(), 'K'), (self.keyevent(), 'E'), (has(EventClass::KeyMiss), 'm')];
        text.extend(last.into_iter().filter(|(has, _)| *has).map(|(_, letter)| letter));
        text
    }

    /// Whether an event of any class would be published.
    pub fn any(self) -> bool {
        self.0 & (KEYSPACE | KEYEVENT) != 0 && self.0 & !(KEYSPACE | KEYEVENT) != 0
    }

    pub fn has(self, class: EventClass) -> bool {
        self.0 & class as u16 != 0
    }

    /// Whether events go to the channels of their keys.
    pub fn keyspace(self) -> bool {
        self.0 & KEYSPACE != 0
    }

    /// Whether events go to channels of their own.
    pub fn keyevent(self) -> bool {
        self.0 & KEYEVENT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_in_their_order() {
        for (letters, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AKE", "AKE"),
            ("xE", "xE"),
            ("Elg", "glE"),
            ("mnKg", "gnKm"),
            ("KEAnm", "AKEm"),
            ("Kg$lshzxetd", "AK"),
            ("EE$$", "$E"),
            ("dtexzhsl$K", "$lshzxetdK"),
        ] {
            let classes = EventClasses::parse(letters.as_bytes()).unwrap();
            assert_eq!(classes.shown(), shown, "{letters}");
            assert_eq!(EventClasses::parse(classes.written().as_bytes()), Some(classes));
        }
        assert_eq!(EventClasses::parse(b"KEA!"), None);
        assert_eq!(EventClasses::parse("KEé".as_bytes()), None);
    }

    #[test]
    fn nothing_is_published_without_a_class_or_a_channel() {
        for (letters, any) in [("A", false), ("KE", false), ("Kg", true), ("Em", true), ("", false)]
        {
            assert_eq!(EventClasses::parse(letters.as_bytes()).unwrap().any(), any, "{letters}");
        }
        let classes = EventClasses::parse(b"AE").unwrap();
        assert!(classes.has(EventClass::Evicted) && classes.has(EventClass::Module));
        assert!(!classes.has(EventClass::New) && !classes.has(EventClass::KeyMiss));
        assert!(classes.keyevent() && !classes.keyspace());
    }
}
