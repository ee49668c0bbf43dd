//! Whether a script touches only the keys that it is given.
//!
//! A script that surely does can run where its keys are without a look at what it does. The analysis reads the
//! script as Lua does, by its grammar, and knows of each expression only whether it is surely an element of KEYS.
//! It says yes when
//!
//! - `redis` and `server` stand nowhere but in `redis.call(...)`, `redis.pcall(...)` and before the names
//!   of functions and constants that touch no key;
//! - the command is a string in the script, and each of its arguments that is a key is `KEYS[...]`, a local
//!   that is declared as that and never assigned to, or the value of a loop over `ipairs(KEYS)`;
//! - `KEYS` stands nowhere but in `KEYS[...]` that is not assigned to, `#KEYS`, `ipairs(KEYS)`, `pairs(KEYS)` and
//!   `unpack(KEYS)`;
//! - nothing can get at globals by another way.
//!
//! All else is unsure, also what is not Lua at all. An argument that is a key but no string would be an error of
//! the script, so `KEYS[n]` may be nil.

mod lexer;

use lexer::{Lexer, Token};

/// Where a command has its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRule {
    /// It touches no key at all, also none that it finds by itself.
    None,
    /// The arguments `first`, `first + step`, ... up to `last`; the command itself is 0. A negative `last` counts
    /// from the end, the last argument being -1.
    Range {
        first: usize,
        last: isize,
        step: usize,
    },
    Unsure,
}

/// Names that lead around the rules.
const FORBIDDEN: [&[u8]; 13] = [
    b"_G",
    b"getfenv",
    b"setfenv",
    b"load",
    b"loadstring",
    b"loadfile",
    b"dofile",
    b"rawset",
    b"rawget",
    b"setmetatable",
    b"getmetatable",
    b"debug",
    b"require",
];

/// Nesting that is deeper is unsure. Lua itself allows 200.
const DEPTH_MAX: usize = 150;

/// Whether all commands of a script have as their keys nothing but elements of KEYS. `key_positions` tells of a
/// command, named in any case, where its keys are.
pub fn uses_only_declared_keys(body: &[u8], key_positions: &dyn Fn(&[u8]) -> KeyRule) -> bool {
    let mut parser = Parser {
        lexer: Lexer::new(body),
        token: Token::End,
        scope: Vec::new(),
        locals: Vec::new(),
        depth: 0,
        key_positions,
    };
    let whole = parser.advance().and_then(|()| parser.block());
    whole.is_some()
        && parser.token == Token::End
        && !parser.locals.iter().any(|local| local.used && local.assigned)
}

/// What is known of the value of an expression.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Key,
    /// A local that is a key unless it is assigned to.
    LocalKey(usize),
    Text(Vec<u8>),
    /// `unpack(KEYS)`: as the last of several, all that follow.
    Keys,
    /// Any number of values, as the last of several.
    Many,
    /// What a loop over KEYS takes.
    PairsOfKeys,
    Other,
}

/// What an expression can be beside a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Local(usize),
    /// An element of KEYS.
    Element,
    Other,
}

struct Local {
    is_key: bool,
    /// As the key of a command.
    used: bool,
    /// After its declaration.
    assigned: bool,
}

/// `None` everywhere says that it is unsure.
struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Names that are visible, and which locals they are.
    scope: Vec<(&'a [u8], usize)>,
    locals: Vec<Local>,
    depth: usize,
    key_positions: &'a dyn Fn(&[u8]) -> KeyRule,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Option<()> {
        self.token = self.lexer.next()?;
        Some(())
    }

    fn at(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(at) if at == sign)
    }

    /// Goes past a sign if it is there.
    fn accept(&mut self, sign: &str) -> Option<bool> {
        let there = self.at(sign);
        if there {
            self.advance()?;
        }
        Some(there)
    }

    fn expect(&mut self, sign: &str) -> Option<()> {
        if self.accept(sign)? { Some(()) } else { None }
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let Token::Name(name) = self.token else { return None };
        self.advance()?;
        Some(name)
    }

    /// The local that a name is.
    fn resolve(&self, name: &[u8]) -> Option<usize> {
        self.scope.iter().rev().find(|(visible, _)| *visible == name).map(|(_, local)| *local)
    }

    /// Declares a local. Nobody may have the names that matter.
    fn declare(&mut self, name: &'a [u8], is_key: bool) -> Option<()> {
        if matches!(name, b"KEYS" | b"redis" | b"server") {
            return None;
        }
        self.scope.push((name, self.locals.len()));
        self.locals.push(Local { is_key, used: false, assigned: false });
        Some(())
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements with a scope of their own.
    fn block(&mut self) -> Option<()> {
        let visible = self.scope.len();
        self.statements()?;
        self.scope.truncate(visible);
        Some(())
    }

    fn statements(&mut self) -> Option<()> {
        self.deeper(|parser| {
            loop {
                match parser.token {
                    Token::End | Token::Sign("end" | "else" | "elseif" | "until") => {
                        return Some(());
                    }
                    _ => parser.statement()?,
                }
            }
        })
    }

    fn block_and_end(&mut self) -> Option<()> {
        self.block()?;
        self.expect("end")
    }

    fn statement(&mut self) -> Option<()> {
        let Token::Sign(sign) = self.token else { return self.expression_statement() };
        if sign == "(" {
            return self.expression_statement();
        }
        self.advance()?;
        match sign {
            ";" | "break" => Some(()),
            "if" => self.if_statement(),
            "while" => {
                self.expression()?;
                self.expect("do")?;
                self.block_and_end()
            }
            "do" => self.block_and_end(),
            "for" => self.for_statement(),
            "repeat" => {
                let visible = self.scope.len();
                self.statements()?;
                self.expect("until")?;
                self.expression()?;
                self.scope.truncate(visible);
                Some(())
            }
            "function" => self.function_statement(),
            "local" => self.local_statement(),
            "return" => {
                let ends = matches!(
                    self.token,
                    Token::End | Token::Sign("end" | "else" | "elseif" | "until" | ";")
                );
                if !ends {
                    self.expressions()?;
                }
                Some(())
            }
            _ => None,
        }
    }

    fn if_statement(&mut self) -> Option<()> {
        loop {
            self.expression()?;
            self.expect("then")?;
            self.block()?;
            if self.accept("else")? {
                return self.block_and_end();
            }
            if !self.accept("elseif")? {
                return self.expect("end");
            }
        }
    }

    fn for_statement(&mut self) -> Option<()> {
        let mut names = vec![self.name()?];
        let visible = self.scope.len();
        if self.accept("=")? {
            self.expressions()?;
            self.declare(names[0], false)?;
        } else {
            while self.accept(",")? {
                names.push(self.name()?);
            }
            self.expect("in")?;
            let values = self.expressions()?;
            let over_keys = values == [Value::PairsOfKeys];
            for (at, name) in names.into_iter().enumerate() {
                self.declare(name, over_keys && at == 1)?;
            }
        }
        self.expect("do")?;
        self.block_and_end()?;
        self.scope.truncate(visible);
        Some(())
    }

    /// `function a.b:c() ... end` assigns.
    fn function_statement(&mut self) -> Option<()> {
        let name = self.name()?;
        match self.resolve(name) {
            Some(local) => self.locals[local].assigned = true,
            None => self.check_global(name)?,
        }
        while self.accept(".")? {
            self.name()?;
        }
        let method = self.accept(":")?;
        if method {
            self.name()?;
        }
        self.function_body(method)
    }

    fn function_body(&mut self, method: bool) -> Option<()> {
        let visible = self.scope.len();
        if method {
            self.declare(b"self", false)?;
        }
        self.expect("(")?;
        while !self.accept(")")? {
            if !self.accept("...")? {
                let name = self.name()?;
                self.declare(name, false)?;
            }
            if !self.at(")") {
                self.expect(",")?;
            }
        }
        self.block_and_end()?;
        self.scope.truncate(visible);
        Some(())
    }

    fn local_statement(&mut self) -> Option<()> {
        if self.accept("function")? {
            let name = self.name()?;
            self.declare(name, false)?;
            return self.function_body(false);
        }
        let mut names = vec![self.name()?];
        while self.accept(",")? {
            names.push(self.name()?);
        }
        let values = if self.accept("=")? { self.expressions()? } else { Vec::new() };
        let all_keys = values.last() == Some(&Value::Keys);
        for (at, name) in names.into_iter().enumerate() {
            let is_key = match values.get(at) {
                Some(value) => self.is_key(value),
                None => all_keys,
            };
            self.declare(name, is_key)?;
        }
        Some(())
    }

    /// Whether a value is a key, if the locals that it comes from are not assigned to.
    fn is_key(&mut self, value: &Value) -> bool {
        if let Value::LocalKey(local) = value {
            self.locals[*local].used = true;
        }
        matches!(value, Value::Key | Value::LocalKey(_) | Value::Keys)
    }

    fn expression_statement(&mut self) -> Option<()> {
        let mut places = vec![self.suffixed()?.1];
        if !self.at("=") && !self.at(",") {
            return Some(());
        }
        while self.accept(",")? {
            places.push(self.suffixed()?.1);
        }
        self.expect("=")?;
        for place in places {
            match place {
                Place::Local(local) => self.locals[local].assigned = true,
                Place::Element => return None,
                Place::Other => {}
            }
        }
        self.expressions()?;
        Some(())
    }

    fn expressions(&mut self) -> Option<Vec<Value>> {
        let mut values = vec![self.expression()?];
        while self.accept(",")? {
            values.push(self.expression()?);
        }
        Some(values)
    }

    /// Without a look at what binds more: a value that something is done with is another.
    fn expression(&mut self) -> Option<Value> {
        const BINARY: [&str; 15] =
            ["+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"];
        self.deeper(|parser| {
            let mut value = parser.operand()?;
            while let Token::Sign(sign) = parser.token
                && BINARY.contains(&sign)
            {
                parser.advance()?;
                parser.operand()?;
                value = Value::Other;
            }
            Some(value)
        })
    }

    fn operand(&mut self) -> Option<Value> {
        let mut changed = false;
        while let Token::Sign(sign @ ("not" | "-" | "#")) = self.token {
            changed = true;
            self.advance()?;
            if sign == "#" && self.token == Token::Name(b"KEYS") {
                let mut ahead = self.lexer.clone();
                if !matches!(
                    ahead.next()?,
                    Token::Sign("[" | "." | ":" | "(" | "{") | Token::Text(_)
                ) {
                    self.advance()?;
                    return Some(Value::Other);
                }
            }
        }
        let value = self.simple()?;
        Some(if changed { Value::Other } else { value })
    }

    fn simple(&mut self) -> Option<Value> {
        let value = match &mut self.token {
            Token::Number | Token::Sign("nil" | "true" | "false") => Value::Other,
            Token::Text(text) => Value::Text(std::mem::take(text).into_owned()),
            Token::Sign("...") => Value::Many,
            Token::Sign("{") => {
                self.table()?;
                return Some(Value::Other);
            }
            Token::Sign("function") => {
                self.advance()?;
                self.function_body(false)?;
                return Some(Value::Other);
            }
            _ => return self.suffixed().map(|(value, _)| value),
        };
        self.advance()?;
        Some(value)
    }

    fn table(&mut self) -> Option<()> {
        self.expect("{")?;
        while !self.accept("}")? {
            if self.accept("[")? {
                self.expression()?;
                self.expect("]")?;
                self.expect("=")?;
            } else if matches!(self.token, Token::Name(_))
                && self.lexer.clone().next()? == Token::Sign("=")
            {
                self.advance()?;
                self.advance()?;
            }
            self.expression()?;
            if !self.at("}") && !self.accept(",")? {
                self.expect(";")?;
            }
        }
        Some(())
    }

    /// A name or an expression in brackets, with calls and indices behind it.
    fn suffixed(&mut self) -> Option<(Value, Place)> {
        let mut expression = self.primary()?;
        loop {
            let value = match self.token {
                Token::Sign(".") => {
                    self.advance()?;
                    self.name()?;
                    Value::Other
                }
                Token::Sign("[") => {
                    self.advance()?;
                    self.expression()?;
                    self.expect("]")?;
                    Value::Other
                }
                Token::Sign(":") => {
                    self.advance()?;
                    self.name()?;
                    self.arguments()?;
                    Value::Many
                }
                Token::Sign("(" | "{") | Token::Text(_) => {
                    self.arguments()?;
                    Value::Many
                }
                _ => return Some(expression),
            };
            expression = (value, Place::Other);
        }
    }

    fn primary(&mut self) -> Option<(Value, Place)> {
        if self.accept("(")? {
            let value = self.expression()?;
            self.expect(")")?;
            // Brackets leave one value.
            let value = match value {
                Value::Keys => Value::Key,
                Value::Many | Value::PairsOfKeys => Value::Other,
                value => value,
            };
            return Some((value, Place::Other));
        }
        let name = self.name()?;
        if let Some(local) = self.resolve(name) {
            let is_key = self.locals[local].is_key;
            let value = if is_key { Value::LocalKey(local) } else { Value::Other };
            return Some((value, Place::Local(local)));
        }
        match name {
            b"KEYS" => {
                self.expect("[")?;
                self.expression()?;
                self.expect("]")?;
                Some((Value::Key, Place::Element))
            }
            b"redis" | b"server" => self.redis(),
            b"ipairs" | b"pairs" | b"unpack" => self.function_of_keys(name),
            _ => {
                self.check_global(name)?;
                Some((Value::Other, Place::Other))
            }
        }
    }

    fn check_global(&self, name: &[u8]) -> Option<()> {
        let special = matches!(name, b"KEYS" | b"redis" | b"server");
        (!special && !FORBIDDEN.contains(&name)).then_some(())
    }

    /// `ipairs(KEYS)`, `pairs(KEYS)` and `unpack(KEYS, ...)`, or the function with anything else.
    fn function_of_keys(&mut self, name: &[u8]) -> Option<(Value, Place)> {
        let mut ahead = self.lexer.clone();
        let of_keys = self.at("(") && ahead.next()? == Token::Name(b"KEYS");
        if !of_keys || !matches!(ahead.next()?, Token::Sign(")" | ",")) {
            return Some((Value::Other, Place::Other));
        }
        self.advance()?;
        self.advance()?;
        while self.accept(",")? {
            self.expression()?;
        }
        self.expect(")")?;
        let value = if name == b"unpack" { Value::Keys } else { Value::PairsOfKeys };
        Some((value, Place::Other))
    }

    fn arguments(&mut self) -> Option<Vec<Value>> {
        match self.token {
            Token::Text(_) => {
                self.advance()?;
                Some(Vec::new())
            }
            Token::Sign("{") => {
                self.table()?;
                Some(Vec::new())
            }
            _ => {
                self.expect("(")?;
                if self.accept(")")? {
                    return Some(Vec::new());
                }
                let values = self.expressions()?;
                self.expect(")")?;
                Some(values)
            }
        }
    }

    /// What follows `redis`.
    fn redis(&mut self) -> Option<(Value, Place)> {
        self.expect(".")?;
        match self.name()? {
            b"call" | b"pcall" => {
                if !self.at("(") {
                    return None;
                }
                let arguments = self.arguments()?;
                self.command(&arguments)?;
                Some((Value::Many, Place::Other))
            }
            b"error_reply"
            | b"status_reply"
            | b"sha1hex"
            | b"log"
            | b"setresp"
            | b"set_repl"
            | b"replicate_commands"
            | b"acl_check_cmd"
            | b"breakpoint"
            | b"debug" => Some((Value::Other, Place::Other)),
            name if [&b"LOG_"[..], b"REPL_", b"REDIS_"].iter().any(|s| name.starts_with(s)) => {
                Some((Value::Other, Place::Other))
            }
            _ => None,
        }
    }

    /// Checks the keys of a command.
    fn command(&mut self, arguments: &[Value]) -> Option<()> {
        let (Value::Text(name), values) = arguments.split_first()? else { return None };
        let (first, last, step) = match (self.key_positions)(name) {
            KeyRule::None => return Some(()),
            KeyRule::Range { first: first @ 1.., last, step: step @ 1.. } => (first, last, step),
            _ => return None,
        };
        // Of the last value it may be unknown how many values it is.
        let (values, tail) = match values.split_last() {
            Some((tail @ (Value::Keys | Value::Many), values)) => (values, Some(tail)),
            _ => (values, None),
        };
        let end = match (usize::try_from(last), tail) {
            // All that comes in the tail is a key, or more than there need be.
            (_, Some(Value::Keys)) => values.len().min(usize::try_from(last).unwrap_or(usize::MAX)),
            (Ok(end), _) if end <= values.len() => end,
            (Ok(_), _) | (Err(_), Some(_)) => return None,
            (Err(_), None) => (values.len() + 1).checked_add_signed(last)?,
        };
        if tail.is_none() && end < first {
            return None;
        }
        for position in (first..=end).step_by(step) {
            if !self.is_key(&values[position - 1]) {
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
