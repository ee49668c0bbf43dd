//! Places in sorted sets: the rows, adding places and asking about single ones.

mod search;
#[cfg(test)]
mod tests;

use super::sorted_set::{Conditions, add_all, find};
use super::spec::*;
use crate::data::double;
use crate::data::geo::Place;
use crate::data::sorted_set::SortedSet;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::Cx;
use search::{
    georadius, georadius_ro, georadiusbymember, georadiusbymember_ro, geosearch, geosearchstore,
};
use smallvec::SmallVec;

const WRITE_OOM: Flags = WRITE.with(DENYOOM);
const READ: &[KeySpec] = &[KeySpec::one(1, RO_ACCESS)];

/// A key behind a word, which is looked for from `from` on.
const fn behind(word: &'static str, from: i32) -> KeySpec {
    let find = Find::Range { last: 0, step: 1, limit: 0 };
    KeySpec { flags: OW_UPDATE, begin: Begin::Keyword(word, from), find }
}

const SEARCHED: &str = "O(N + log M) where N is the number of members in the cells of the grid \
                        that the shape touches and M the number of all members.";
const EACH: &str = "O(1) for each member.";

const COORDINATES_AND_MORE: &str = "key longitude:double latitude:double radius:double <M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
     [WITHHASH] [COUNT count [ANY]] [ASC | DESC]";
const MEMBER_AND_MORE: &str = "key member radius:double <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
     [COUNT count [ANY]] [ASC | DESC]";

pub const COMMANDS: &[Command] = &[
    shard("geoadd", -5, WRITE_OOM, &[KeySpec::one(1, RW_UPDATE)], geoadd).doc(
        Group::Geo,
        "3.2.0",
        "O(log N) for each member, where N is the number of members.",
        "key [NX | XX] [CH] longitude:double latitude:double member \
         [longitude:double latitude:double member ...]",
        "Adds members with their places, or moves members to other places.",
    ),
    shard("geopos", -2, READONLY, READ, geopos).doc(
        Group::Geo,
        "3.2.0",
        EACH,
        "key [member [member ...]]",
        "Answers longitudes and latitudes of members.",
    ),
    shard("geodist", -4, READONLY, READ, geodist).doc(
        Group::Geo,
        "3.2.0",
        "O(1)",
        "key member1 member2 [M | KM | FT | MI]",
        "Answers the distance of two members.",
    ),
    shard("geohash", -2, READONLY, READ, geohash).doc(
        Group::Geo,
        "3.2.0",
        EACH,
        "key [member [member ...]]",
        "Answers the places of members as geohash texts.",
    ),
    shard("geosearch", -7, READONLY, READ, geosearch).doc(
        Group::Geo,
        "6.2.0",
        SEARCHED,
        "key <FROMMEMBER member | FROMLONLAT longitude:double latitude:double> \
         <BYRADIUS radius:double <M | KM | FT | MI> | \
         BYBOX width:double height:double <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] \
         [WITHCOORD] [WITHDIST] [WITHHASH]",
        "Answers the members within a circle or a rectangle.",
    ),
    shard(
        "geosearchstore",
        -8,
        WRITE_OOM,
        &[KeySpec::one(1, OW_UPDATE), KeySpec::one(2, RO_ACCESS)],
        geosearchstore,
    )
    .doc(
        Group::Geo,
        "6.2.0",
        SEARCHED,
        "destination source <FROMMEMBER member | FROMLONLAT longitude:double latitude:double> \
         <BYRADIUS radius:double <M | KM | FT | MI> | \
         BYBOX width:double height:double <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] \
         [STOREDIST]",
        "Stores the members within a circle or a rectangle.",
    ),
    shard(
        "georadius",
        -6,
        WRITE_OOM,
        &[KeySpec::one(1, RO_ACCESS), behind("STORE", 6), behind("STOREDIST", 6)],
        georadius,
    )
    .doc(
        Group::Geo,
        "3.2.0",
        SEARCHED,
        "key longitude:double latitude:double radius:double <M | KM | FT | MI> [WITHCOORD] \
         [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        "Answers or stores the members within a circle around a place.",
    )
    .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    shard("georadius_ro", -6, READONLY, READ, georadius_ro)
        .doc(
            Group::Geo,
            "3.2.10",
            SEARCHED,
            COORDINATES_AND_MORE,
            "Answers the members within a circle around a place.",
        )
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    shard(
        "georadiusbymember",
        -5,
        WRITE_OOM,
        &[KeySpec::one(1, RO_ACCESS), behind("STORE", 5), behind("STOREDIST", 5)],
        georadiusbymember,
    )
    .doc(
        Group::Geo,
        "3.2.0",
        SEARCHED,
        "key member radius:double <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
         [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        "Answers or stores the members within a circle around a member.",
    )
    .deprecated(
        "6.2.0",
        "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
    ),
    shard("georadiusbymember_ro", -5, READONLY, READ, georadiusbymember_ro)
        .doc(
            Group::Geo,
            "3.2.10",
            SEARCHED,
            MEMBER_AND_MORE,
            "Answers the members within a circle around a member.",
        )
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
];

/// Two arguments that are a longitude and a latitude on the map.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, CmdError> {
    let number = |text| double::parse(text).ok_or(CmdError::NOT_A_FLOAT);
    let (longitude, latitude) = (number(longitude)?, number(latitude)?);
    Place::new(longitude, latitude).ok_or_else(|| {
        CmdError::err(format_args!("invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// Meters in one of a unit.
fn unit(text: &[u8]) -> Result<f64, CmdError> {
    const UNITS: [(&[u8], f64); 4] =
        [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let found = UNITS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    found
        .map(|(_, meters)| *meters)
        .ok_or(CmdError::fixed("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

fn write_distance(out: &mut Encoder, distance: f64) {
    out.bulk(double::four_decimals(distance).as_bytes());
}

fn write_place(out: &mut Encoder, place: Place) {
    out.array(2);
    for number in [place.longitude, place.latitude] {
        out.double(&double::plain(number));
    }
}

fn geoadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut conditions = Conditions::default();
    let mut at = 2;
    while at < args.len() {
        match () {
            _ if args.is(at, "nx") => conditions.nx = true,
            _ if args.is(at, "xx") => conditions.xx = true,
            _ if args.is(at, "ch") => conditions.ch = true,
            _ => break,
        }
        at += 1;
    }
    let triples = args.from(at);
    if !triples.len().is_multiple_of(3) || triples.len() == 0 || (conditions.nx && conditions.xx) {
        return Err(CmdError::SYNTAX);
    }
    // All places are read before anything changes.
    let mut elements: SmallVec<[(&[u8], f64); 4]> = SmallVec::new();
    for at in (0..triples.len()).step_by(3) {
        let place = place(triples.at(at), triples.at(at + 1))?;
        elements.push((triples.at(at + 2), place.score()));
    }
    add_all(cx, args.at(1), elements.into_iter(), conditions)
}

/// The places of members, as far as they are there.
fn places<'a>(
    set: Option<&'a SortedSet>,
    members: Args<'a>,
) -> impl Iterator<Item = Option<Place>> + 'a {
    let place = move |member| set.and_then(|set| set.score(member)).map(Place::of_score);
    members.iter().map(place)
}

fn geopos(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let members = args.from(2);
    let set = find(&mut cx.keys, args.at(1))?;
    cx.out.array(members.len());
    for place in places(set, members) {
        match place {
            Some(place) => write_place(&mut cx.out, place),
            None => cx.out.null_array(),
        }
    }
    Ok(())
}

fn geohash(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let members = args.from(2);
    let set = find(&mut cx.keys, args.at(1))?;
    cx.out.array(members.len());
    for place in places(set, members) {
        match place {
            Some(place) => cx.out.bulk(&place.hash_text()),
            None => cx.out.null(),
        }
    }
    Ok(())
}

fn geodist(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let meters = match args.len() {
        4 => 1.0,
        5 => unit(args.at(4))?,
        _ => return Err(CmdError::SYNTAX),
    };
    let set = find(&mut cx.keys, args.at(1))?;
    let mut places = places(set, args.range(2, 4));
    match (places.next().flatten(), places.next().flatten()) {
        (Some(from), Some(to)) => write_distance(&mut cx.out, from.distance(to) / meters),
        _ => cx.out.null(),
    }
    Ok(())
}
