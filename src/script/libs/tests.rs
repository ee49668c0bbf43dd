use super::super::testing::Bench;

/// Evaluates expressions to texts.
fn all(cases: &[(&str, &str)]) {
    let mut bench = Bench::new();
    for (expression, text) in cases {
        assert_eq!(bench.text(&format!("return tostring({expression})")), *text, "{expression}");
    }
}

fn errors(cases: &[(&str, &str)]) {
    let mut bench = Bench::new();
    for (statement, text) in cases {
        assert_eq!(bench.error(statement), format!("ERR user_script:1: {text}"), "{statement}");
    }
}

#[test]
fn json_is_written() {
    all(&[
        ("cjson.encode({1,2,3})", "[1,2,3]"),
        ("cjson.encode({})", "{}"),
        ("cjson.encode({{}, {1}, {a={}}})", "[{},[1],{\"a\":{}}]"),
        ("cjson.encode({a=1})", "{\"a\":1}"),
        ("cjson.encode({[5]=1})", "[null,null,null,null,1]"),
        ("cjson.encode({[1.5]=1})", "{\"1.5\":1}"),
        ("cjson.encode({[0]=1})", "{\"0\":1}"),
        ("cjson.encode('a/\"\\\\\\n\\1\\127é')", "\"a\\/\\\"\\\\\\n\\u0001\\u007fé\""),
        ("cjson.encode(0.1)", "0.1"),
        ("cjson.encode(1/3)", "0.33333333333333"),
        ("cjson.encode(-0)", "-0"),
        ("cjson.encode(1e14)", "1e+14"),
        ("cjson.encode(99999999999999)", "99999999999999"),
        ("cjson.encode(2^53)", "9.007199254741e+15"),
        ("cjson.encode(1e-5)", "1e-05"),
        ("cjson.encode(nil)", "null"),
        ("cjson.encode(cjson.null)", "null"),
        ("cjson.encode({cjson.null, true, false})", "[null,true,false]"),
        ("#cjson.encode(string.rep('x', 10000))", "10002"),
        ("cjson._NAME .. cjson._VERSION", "cjson2.1.0"),
    ]);
    errors(&[
        ("cjson.encode()", "bad argument #1 to 'encode' (expected 1 argument)"),
        ("cjson.encode({1/0})", "Cannot serialise number: must not be NaN or Inf"),
        ("cjson.encode(0/0)", "Cannot serialise number: must not be NaN or Inf"),
        ("cjson.encode({[20]=1})", "Cannot serialise table: excessively sparse array"),
        (
            "cjson.encode({[true]=1})",
            "Cannot serialise boolean: table key must be a number or string",
        ),
        ("cjson.encode({next})", "Cannot serialise function: type not supported"),
        ("local a = {} a[1] = a cjson.encode(a)", "Cannot serialise, excessive nesting (1001)"),
        ("local a = {} a.x = a cjson.encode(a)", "Cannot serialise, excessive nesting (1001)"),
    ]);
}

#[test]
fn json_is_read() {
    all(&[
        ("cjson.decode('[1,[2,[]],{}]')[2][1]", "2"),
        ("cjson.decode('{\"a\":{\"b\":\"c\"}}').a.b", "c"),
        ("cjson.decode('{\"\":1}')['']", "1"),
        ("cjson.decode(' \\t\\n\\r7 ')", "7"),
        ("cjson.decode('-0.5e1')", "-5"),
        ("cjson.decode('null') == cjson.null", "true"),
        ("cjson.decode('[null]')[1] == cjson.null", "true"),
        ("cjson.decode('true')", "true"),
        ("cjson.decode('\"a\\\\u0041\\\\n\\\\/\\\\u00e9\\\\ud83d\\\\ude00\"')", "aA\n/é😀"),
        ("cjson.decode('nan')", "nan"),
        ("cjson.decode('-Infinity')", "-inf"),
        ("cjson.decode('0x1F')", "31"),
        ("cjson.decode('+5')", "5"),
        ("cjson.decode('007')", "7"),
        ("cjson.decode('1e999')", "inf"),
        ("cjson.decode('123456789012345678')", "1.2345678901235e+17"),
        ("cjson.decode(' 5\\0garbage')", "5"),
        ("cjson.encode(cjson.decode('{\"a\":[1,{\"b\":null}]}'))", "{\"a\":[1,{\"b\":null}]}"),
    ]);
    errors(&[
        ("cjson.decode('')", "Expected value but found T_END at character 1"),
        ("cjson.decode('[1,]')", "Expected value but found T_ARR_END at character 4"),
        ("cjson.decode('{1:2}')", "Expected object key string but found T_NUMBER at character 2"),
        ("cjson.decode('{\"a\" 1}')", "Expected colon but found T_NUMBER at character 6"),
        (
            "cjson.decode('{\"a\":1 2}')",
            "Expected comma or object end but found T_NUMBER at character 8",
        ),
        ("cjson.decode('[1 2]')", "Expected comma or array end but found T_NUMBER at character 4"),
        ("cjson.decode('1 2')", "Expected the end but found T_NUMBER at character 3"),
        ("cjson.decode('\"a')", "Expected value but found unexpected end of string at character 3"),
        (
            "cjson.decode('\"\\\\x\"')",
            "Expected value but found invalid escape code at character 2",
        ),
        (
            "cjson.decode('\"\\\\ud800\"')",
            "Expected value but found invalid unicode escape code at character 2",
        ),
        ("cjson.decode('nul')", "Expected value but found invalid token at character 1"),
        ("cjson.decode('-')", "Expected value but found invalid number at character 1"),
        ("cjson.decode('?')", "Expected value but found invalid token at character 1"),
        ("cjson.decode('a\\0')", "JSON parser does not support UTF-16 or UTF-32"),
        (
            "cjson.decode(string.rep('[', 1001))",
            "Found too many nested data structures (1001) at character 1001",
        ),
        ("cjson.decode({})", "bad argument #1 to 'decode' (string expected, got table)"),
        ("cjson.decode('1', 2)", "bad argument #1 to 'decode' (expected 1 argument)"),
    ]);
}

#[test]
fn json_has_settings() {
    let mut bench = Bench::new();
    for (body, text) in [
        ("return tostring(cjson.encode_max_depth(2))", "2"),
        (
            "return select(2, pcall(cjson.encode, {{{}}}))",
            "Cannot serialise, excessive nesting (3)",
        ),
        ("return cjson.encode({{}}) .. cjson.encode_max_depth(1000)", "[{}]1000"),
        (
            "cjson.decode_max_depth(1) return select(2, pcall(cjson.decode, '[[]]'))",
            "Found too many nested data structures (2) at character 2",
        ),
        ("cjson.encode_number_precision(3) return cjson.encode(1234.5)", "1.23e+03"),
        (
            "cjson.encode_invalid_numbers(true) return cjson.encode({1/0, -1/0, 0/0})",
            "[inf,-inf,nan]",
        ),
        ("cjson.encode_invalid_numbers('null') return cjson.encode({1/0, 0/0})", "[null,null]"),
        ("return cjson.encode_invalid_numbers()", "null"),
        (
            "cjson.decode_invalid_numbers(false) return select(2, pcall(cjson.decode, '0x1'))",
            "Expected value but found invalid number at character 1",
        ),
        ("cjson.encode_sparse_array(true) return cjson.encode({[20]=1})", "{\"20\":1}"),
        ("return tostring(select(3, cjson.encode_sparse_array(false, 0, 5)))", "5"),
        ("return tostring(cjson.encode_keep_buffer('off'))", "false"),
        (
            "return select(2, pcall(cjson.encode_keep_buffer, 'x'))",
            "bad argument #1 to '?' (invalid option 'x')",
        ),
        (
            "return select(2, pcall(cjson.encode_number_precision, 15))",
            "bad argument #1 to '?' (expected integer between 1 and 14)",
        ),
        (
            "return select(2, pcall(cjson.encode_max_depth, 1, 2))",
            "bad argument #2 to '?' (found too many arguments)",
        ),
        ("return cjson.new().encode({1})", "[1]"),
    ] {
        assert_eq!(bench.text(body), text, "{body}");
    }
}

const HEX: &str = "local function hex(s) return (s:gsub('.', function(c) return \
                   string.format('%02x', c:byte()) end)) end ";

#[test]
fn messages_are_packed() {
    let mut bench = Bench::new();
    for (value, hex) in [
        ("1", "01"),
        ("127", "7f"),
        ("128", "cc80"),
        ("256", "cd0100"),
        ("65536", "ce00010000"),
        ("2^32", "cf0000000100000000"),
        ("2^63", "ca5f000000"),
        ("-1", "ff"),
        ("-32", "e0"),
        ("-33", "d0df"),
        ("-129", "d1ff7f"),
        ("-32769", "d2ffff7fff"),
        ("-2^31 - 1", "d3ffffffff7fffffff"),
        ("0.5", "ca3f000000"),
        ("0.1", "cb3fb999999999999a"),
        ("'abc'", "a3616263"),
        ("('x'):rep(32):sub(1, 0)", "a0"),
        ("nil", "c0"),
        ("true", "c3"),
        ("false", "c2"),
        ("{}", "90"),
        ("{1, {2}}", "92019102"),
        ("{a=1}", "81a16101"),
        ("{[2]=1}", "810201"),
        ("next", "c0"),
        ("1, 'a', {}", "01a16190"),
    ] {
        let body = format!("{HEX} return hex(cmsgpack.pack({value}))");
        assert_eq!(bench.text(&body), hex, "{value}");
    }
    for (len, header) in [(31, "bf"), (32, "d920"), (256, "da0100"), (65536, "db00010000")] {
        let body = format!("{HEX} return hex(cmsgpack.pack(('x'):rep({len})):sub(1, 5))");
        assert!(bench.text(&body).starts_with(header), "{len}");
    }
    let deep = "local t = {} for i = 1, 20 do t = {t} end ";
    assert_eq!(
        bench.text(&format!("{HEX} {deep} return hex(cmsgpack.pack(t))")),
        format!("{}c0", "91".repeat(16))
    );
    errors(&[("cmsgpack.pack()", "bad argument #0 to 'pack' (MessagePack pack needs input.)")]);
}

#[test]
fn messages_are_unpacked() {
    all(&[
        (
            "cjson.encode({cmsgpack.unpack(cmsgpack.pack(1, 'a', {x={2, 3}}))})",
            "[1,\"a\",{\"x\":[2,3]}]",
        ),
        ("cmsgpack.unpack('\\204\\255')", "255"),
        ("cmsgpack.unpack('\\208\\255')", "-1"),
        ("cmsgpack.unpack('\\207\\255\\255\\255\\255\\255\\255\\255\\255')", "-1"),
        ("cmsgpack.unpack('\\202\\63\\0\\0\\0')", "0.5"),
        ("cmsgpack.unpack(cmsgpack.pack(0.1))", "0.1"),
        ("cmsgpack.unpack(cmsgpack.pack(-2^31 - 1)) == -2^31 - 1", "true"),
        ("#cmsgpack.unpack(cmsgpack.pack(('x'):rep(70000)))", "70000"),
        ("cmsgpack.unpack('\\220\\0\\20' .. ('\\192'):rep(19) .. '\\1')[20]", "1"),
        ("cjson.encode({cmsgpack.unpack_one('\\1\\2')})", "[1,1]"),
        ("cjson.encode({cmsgpack.unpack_one('\\1\\2', 1)})", "[-1,2]"),
        ("cjson.encode({cmsgpack.unpack_limit('\\1\\2\\3', 2)})", "[2,1,2]"),
        ("cjson.encode({cmsgpack.unpack_limit('\\1\\2\\3', 2, 2)})", "[-1,3]"),
        ("select('#', cmsgpack.unpack(''))", "0"),
        ("cmsgpack._VERSION", "lua-cmsgpack 0.4.0"),
    ]);
    errors(&[
        ("cmsgpack.unpack('\\204')", "Missing bytes in input."),
        ("cmsgpack.unpack('\\223\\255\\255\\255\\255\\1')", "Missing bytes in input."),
        ("cmsgpack.unpack('\\193')", "Bad data format in input."),
        ("cmsgpack.unpack_one('a', 5)", "Start offset 5 greater than input length 1."),
        (
            "cmsgpack.unpack_one('a', -1)",
            "Invalid request to unpack with offset of -1 and limit of 1.",
        ),
        ("cmsgpack.unpack({})", "bad argument #1 to 'unpack' (string expected, got table)"),
    ]);
    let mut bench = Bench::new();
    assert_eq!(bench.error("cmsgpack.unpack('\\129\\192\\1')"), "ERR table index is nil");
    let deep = bench.error("cmsgpack.unpack(('\\145'):rep(20000))");
    assert!(deep.contains("stack overflow (too many return values at once;"), "{deep}");
}

#[test]
fn structures_are_packed_and_unpacked() {
    let mut bench = Bench::new();
    for (arguments, hex) in [
        ("'>h', 258", "0102"),
        ("'<h', 258", "0201"),
        ("'bB', -1, 255", "ffff"),
        ("'>i3', 66051", "010203"),
        ("'>I4', 2^32 - 1", "ffffffff"),
        ("'>l', -2", "fffffffffffffffe"),
        ("'>i10', 1", "00000000000000000001"),
        ("'>f', 0.5", "3f000000"),
        ("'>d', 0.1", "3fb999999999999a"),
        ("'s', 'ab'", "616200"),
        ("'c2', 'abc'", "6162"),
        ("'c0', 'abc'", "616263"),
        ("'!4bi4', 1, 2", "0100000002000000"),
        ("'!bd', 1, 0", "01000000000000000000000000000000"),
        ("'b x b', 1, 2", "010002"),
    ] {
        let body = format!("{HEX} return hex(struct.pack({arguments}))");
        assert_eq!(bench.text(&body), hex, "{arguments}");
    }
    all(&[
        ("cjson.encode({struct.unpack('>hb', '\\1\\2\\255')})", "[258,-1,4]"),
        ("cjson.encode({struct.unpack('>H', 'x\\255\\255', 2)})", "[65535,4]"),
        ("cjson.encode({struct.unpack('sb', 'ab\\0\\7')})", "[\"ab\",7,5]"),
        ("cjson.encode({struct.unpack('bc0', '\\2abc')})", "[\"ab\",4]"),
        ("cjson.encode({struct.unpack('c2', 'abc')})", "[\"ab\",3]"),
        ("cjson.encode({struct.unpack('<f<d', struct.pack('fd', 1.5, 0.1))})", "[1.5,0.1,13]"),
        ("cjson.encode({struct.unpack('!4bi4', '\\1\\0\\0\\0\\2\\0\\0\\0')})", "[1,2,9]"),
        ("cjson.encode({struct.unpack('<l', struct.pack('<l', -5))})", "[-5,9]"),
        ("struct.size('bhi4ldx')", "24"),
        ("struct.size('!8bd')", "16"),
    ]);
    errors(&[
        ("struct.pack('z', 1)", "bad argument #1 to 'pack' (invalid format option 'z')"),
        ("struct.pack('i33', 1)", "integral size 33 is larger than limit of 32"),
        ("struct.pack('i99999999999', 1)", "integral size overflow"),
        ("struct.pack('!3', 1)", "alignment 3 is not a power of 2"),
        ("struct.pack('b', 'x')", "bad argument #2 to 'pack' (number expected, got string)"),
        ("struct.pack('c5', 'x')", "bad argument #3 to 'pack' (string too short)"),
        ("struct.unpack('i4', 'abc')", "bad argument #2 to 'unpack' (data string too short)"),
        (
            "struct.unpack('b', 'abc', 0)",
            "bad argument #3 to 'unpack' (offset must be 1 or greater)",
        ),
        ("struct.unpack('c0', 'abc')", "format 'c0' needs a previous size"),
        ("struct.unpack('bc0', '\\9abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("struct.unpack('s', 'abc')", "unfinished string in data"),
        ("struct.size('s')", "bad argument #1 to 'size' (option 's' has no fixed size)"),
        ("struct.size('c0')", "bad argument #1 to 'size' (option 'c0' has no fixed size)"),
    ]);
}

#[test]
fn bits_are_operated_on() {
    all(&[
        ("bit.tobit(0xffffffff)", "-1"),
        ("bit.tobit(2^40 + 5)", "5"),
        ("bit.bnot(0)", "-1"),
        ("bit.band(12, 10, 9)", "8"),
        ("bit.bor(1, 2, 4)", "7"),
        ("bit.bxor(15, 5)", "10"),
        ("bit.lshift(1, 31)", "-2147483648"),
        ("bit.lshift(1, 33)", "2"),
        ("bit.rshift(-1, 28)", "15"),
        ("bit.arshift(-256, 4)", "-16"),
        ("bit.rol(0x12345678, 8)", "878082066"),
        ("bit.ror(1, 1)", "-2147483648"),
        ("bit.bswap(0x12345678)", "2018915346"),
        ("bit.tohex(255)", "000000ff"),
        ("bit.tohex(255, 2)", "ff"),
        ("bit.tohex(255, -4)", "00FF"),
        ("bit.tohex(-1, 100)", "ffffffff"),
        ("bit.band('7', 3)", "3"),
    ]);
    errors(&[
        ("bit.bnot()", "bad argument #1 to 'bnot' (number expected, got no value)"),
        ("bit.band(1, {})", "bad argument #2 to 'band' (number expected, got table)"),
    ]);
}
