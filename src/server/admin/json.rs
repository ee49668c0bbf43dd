//! Writing JSON: values one after the other, with commas where they belong.

use std::fmt::{Display, Write};

/// A document under construction.
#[derive(Debug, Default)]
pub struct Json {
    text: String,
}

impl Json {
    pub fn finish(self) -> String {
        self.text
    }

    fn comma(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.text.push(',');
        }
    }

    pub fn object(&mut self, write: impl FnOnce(&mut Json)) {
        self.nested(('{', '}'), write);
    }

    pub fn array(&mut self, write: impl FnOnce(&mut Json)) {
        self.nested(('[', ']'), write);
    }

    fn nested(&mut self, (open, close): (char, char), write: impl FnOnce(&mut Json)) {
        self.comma();
        self.text.push(open);
        write(self);
        self.text.push(close);
    }

    /// The name of what comes next, inside an object.
    pub fn key(&mut self, name: &str) -> &mut Json {
        self.string(name);
        self.text.push(':');
        self
    }

    /// Something that is written as it shows itself: a number, `true`, `null`.
    pub fn value(&mut self, value: impl Display) {
        self.comma();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
    }

    pub fn string(&mut self, text: &str) {
        self.comma();
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.text.extend(['\\', c]),
                c if c.is_control() => drop(write!(self.text, "\\u{:04x}", c as u32)),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    /// Bytes that are probably text.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.string(&String::from_utf8_lossy(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_escapes_are_where_they_belong() {
        let mut json = Json::default();
        json.object(|json| {
            json.key("a").value(1);
            json.key("b\"").array(|json| {
                json.value(1.5);
                json.string("x\n\\ü");
                json.object(|_| ());
                json.array(|json| json.value("null"));
            });
            json.key("c").bytes(b"\xff:");
        });
        assert_eq!(
            json.finish(),
            "{\"a\":1,\"b\\\"\":[1.5,\"x\\u000a\\\\ü\",{},[null]],\"c\":\"\u{fffd}:\"}"
        );
    }
}
