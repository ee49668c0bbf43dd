//! Places on Earth as 52-bit numbers, and which of them a search must look at.
//!
//! A place is a cell of a grid of 2^26 by 2^26 over longitude -180..180 and latitude
//! -85.05112878..85.05112878 (what a Mercator map shows). The bits of the column and the row
//! are interleaved, so a cell of a coarser grid is one range of numbers:
//!
//! ```text
//!   step 26   x25 y25 x24 y24 ... x1 y1 x0 y0        one place
//!   step  2   x25 y25 x24 y24  *   *  ...  *         one of 16 parts of the map
//! ```
//!
//! A search takes the finest grid whose cell around the center and its eight neighbours cover
//! the shape, and looks at nine ranges. All arithmetic is done in Redis' order of operations, so that
//! scores, coordinates and distances agree to the last bit.

use std::f64::consts::PI;

pub const LONGITUDE_MAX: f64 = 180.0;
pub const LATITUDE_MAX: f64 = 85.051_128_78;
/// The finest grid has 2 to this power columns, and as many rows.
pub const STEP_MAX: u32 = 26;

const EARTH_RADIUS_METERS: f64 = 6_372_797.560_856;
/// Half the circumference of the map.
const MERCATOR_MAX: f64 = 20_037_726.37;
const DEGREE: f64 = PI / 180.0;
const COLUMN_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const ROW_BITS: u64 = 0x5555_5555_5555_5555;

/// A longitude and a latitude, degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

/// The map's limits, from least to greatest.
struct Map {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

/// What scores are about.
const MERCATOR: Map =
    Map { longitude: (-LONGITUDE_MAX, LONGITUDE_MAX), latitude: (-LATITUDE_MAX, LATITUDE_MAX) };

/// What the text form is about, as geohash.org defines it.
const WHOLE: Map = Map { longitude: (-180.0, 180.0), latitude: (-90.0, 90.0) };

/// A cell of the grid with 2^step columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u32,
}

/// The part of the map that a cell is.
struct Area {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

/// Spreads 32 bits over the even bits.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// Takes the even bits together.
fn gather(bits: u64) -> u32 {
    let mut x = bits & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

impl Cell {
    fn of(place: Place, map: &Map, step: u32) -> Cell {
        let scale = (1u64 << step) as f64;
        let index = |at: f64, (min, max): (f64, f64)| ((at - min) / (max - min) * scale) as u32;
        let row = index(place.latitude, map.latitude);
        let column = index(place.longitude, map.longitude);
        Cell { bits: spread(row) | spread(column) << 1, step }
    }

    fn area(self) -> Area {
        let scale = (1u64 << self.step) as f64;
        let side = |index: u32, (min, max): (f64, f64)| {
            let at = |index: u32| min + (f64::from(index) / scale) * (max - min);
            (at(index), at(index.wrapping_add(1)))
        };
        Area {
            longitude: side(gather(self.bits >> 1), MERCATOR.longitude),
            latitude: side(gather(self.bits), MERCATOR.latitude),
        }
    }

    /// The neighbour so many columns to the east and rows to the north; the map has no edges.
    fn moved(self, columns: i32, rows: i32) -> Cell {
        let used = u64::MAX >> (64 - self.step * 2);
        let shift = |own: u64, other: u64, by: i32| {
            // The other bits let a carry through.
            let moved = match by {
                1 => own.wrapping_add((other & used).wrapping_add(1)),
                -1 => (own | (other & used)).wrapping_sub((other & used).wrapping_add(1)),
                _ => return own,
            };
            moved & (!other & used)
        };
        let column = shift(self.bits & COLUMN_BITS, ROW_BITS, columns);
        let row = shift(self.bits & ROW_BITS, COLUMN_BITS, rows);
        Cell { bits: column | row, step: self.step }
    }

    /// The scores of the places in it: from the first to before the second.
    fn scores(self) -> (f64, f64) {
        let align = |bits: u64| (bits << (2 * (STEP_MAX - self.step))) as f64;
        (align(self.bits), align(self.bits + 1))
    }
}

impl Place {
    /// The place if it is on the map.
    pub fn new(longitude: f64, latitude: f64) -> Option<Place> {
        let on_map = (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&latitude);
        on_map.then_some(Place { longitude, latitude })
    }

    pub fn score(self) -> f64 {
        Cell::of(self, &MERCATOR, STEP_MAX).bits as f64
    }

    /// The middle of the cell that a score names. Any score names some place.
    pub fn of_score(score: f64) -> Place {
        let area = Cell { bits: integer_bits(score), step: STEP_MAX }.area();
        let middle = |(min, max): (f64, f64), limit: f64| ((min + max) / 2.0).clamp(-limit, limit);
        Place {
            longitude: middle(area.longitude, LONGITUDE_MAX),
            latitude: middle(area.latitude, LATITUDE_MAX),
        }
    }

    /// The eleven letters of the usual text form; the last one is always 0, for want of bits.
    pub fn hash_text(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, &WHOLE, STEP_MAX).bits;
        let mut text = [b'0'; 11];
        for (at, letter) in text.iter_mut().take(10).enumerate() {
            *letter = LETTERS[(bits >> (52 - (at + 1) * 5)) as usize & 0x1f];
        }
        text
    }

    /// Meters along the surface, by the haversine formula.
    pub fn distance(self, other: Place) -> f64 {
        let v = ((other.longitude * DEGREE - self.longitude * DEGREE) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (from, to) = (self.latitude * DEGREE, other.latitude * DEGREE);
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
    }
}

fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_METERS * (to * DEGREE - from * DEGREE).abs()
}

/// The integer in a score, as x86-64 converts doubles to unsigned integers: also those that are
/// no place's score.
fn integer_bits(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let truncated = |score: f64| match (-HALF..HALF).contains(&score) {
        true => score as i64 as u64,
        false => 1 << 63,
    };
    match score < HALF {
        true => truncated(score),
        false => truncated(score - HALF) ^ 1 << 63,
    }
}

/// What is searched, in meters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Rectangle { width: f64, height: f64 },
}

/// A shape around a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    pub center: Place,
    pub shape: Shape,
}

impl Search {
    /// The distance of a place from the center, if it is within the shape.
    pub fn distance_within(&self, place: Place) -> Option<f64> {
        let Place { longitude, latitude } = self.center;
        match self.shape {
            Shape::Circle { radius } => {
                // The other side of the Earth can be at no distance (NaN), and counts.
                let distance = self.center.distance(place);
                if distance > radius { None } else { Some(distance) }
            }
            Shape::Rectangle { width, height } => {
                if latitude_distance(place.latitude, latitude) > height / 2.0 {
                    return None;
                }
                let abeam = Place { longitude, latitude: place.latitude };
                if place.distance(abeam) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance(place))
            }
        }
    }

    /// The ranges of scores that cover the shape, in the order in which they are looked at: each
    /// from its first number to before its second.
    ///
    /// A very large shape can make the same range appear twice.
    pub fn ranges(&self) -> Vec<(f64, f64)> {
        let cells = self.cells();
        let mut ranges = Vec::with_capacity(cells.len());
        let mut last: Option<Cell> = None;
        for (at, cell) in cells.into_iter().enumerate() {
            let Some(cell) = cell else { continue };
            if last == Some(cell) {
                continue;
            }
            // The center is not compared with what follows it.
            last = (at > 0).then_some(cell);
            ranges.push(cell.scores());
        }
        ranges
    }

    /// The cell of the center and its neighbours but those that the shape does not reach.
    fn cells(&self) -> [Option<Cell>; 9] {
        let (longitude, latitude) = self.bounds();
        let mut step = self.step();
        let mut center = Cell::of(self.center, &MERCATOR, step);
        // Near the edge of its cell, the shape may reach beyond the neighbours.
        let reaches_beyond = center.moved(0, 1).area().latitude.1 < latitude.1
            || center.moved(0, -1).area().latitude.0 > latitude.0
            || center.moved(1, 0).area().longitude.1 < longitude.1
            || center.moved(-1, 0).area().longitude.0 > longitude.0;
        if step > 1 && reaches_beyond {
            step -= 1;
            center = Cell::of(self.center, &MERCATOR, step);
        }
        let own = center.area();
        let keep = |out_of_reach: bool| step < 2 || !out_of_reach;
        let south = keep(own.latitude.0 < latitude.0);
        let north = keep(own.latitude.1 > latitude.1);
        let west = keep(own.longitude.0 < longitude.0);
        let east = keep(own.longitude.1 > longitude.1);
        let cell = |columns, rows, kept: bool| kept.then(|| center.moved(columns, rows));
        [
            Some(center),
            cell(0, 1, north),
            cell(0, -1, south),
            cell(1, 0, east),
            cell(-1, 0, west),
            cell(1, 1, north && east),
            cell(-1, 1, north && west),
            cell(1, -1, south && east),
            cell(-1, -1, south && west),
        ]
    }

    /// Least and greatest longitude, least and greatest latitude of what encloses the shape.
    fn bounds(&self) -> ((f64, f64), (f64, f64)) {
        let Place { longitude, latitude } = self.center;
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Rectangle { width, height } => (width / 2.0, height / 2.0),
        };
        let rows = height / EARTH_RADIUS_METERS / DEGREE;
        // Meridians come together towards the poles: the side further from the equator spans more.
        let columns =
            |latitude: f64| width / EARTH_RADIUS_METERS / (latitude * DEGREE).cos() / DEGREE;
        let columns = columns(if latitude < 0.0 { latitude - rows } else { latitude + rows });
        ((longitude - columns, longitude + columns), (latitude - rows, latitude + rows))
    }

    /// The finest grid whose cells are as large as the shape, more or less.
    fn step(&self) -> u32 {
        let mut reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Rectangle { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        if reach == 0.0 {
            return STEP_MAX;
        }
        let mut step: i32 = 1;
        while reach < MERCATOR_MAX {
            reach *= 2.0;
            step += 1;
        }
        step -= 2;
        let latitude = self.center.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX as i32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALERMO: Place = Place { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Place = Place { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn places_have_the_known_scores() {
        assert_eq!(PALERMO.score(), 3479099956230698.0);
        assert_eq!(CATANIA.score(), 3479447370796909.0);
        let back = Place::of_score(3479099956230698.0);
        assert_eq!(back.longitude, 13.361389338970184);
        assert_eq!(back.latitude, 38.1155563954963);
        assert_eq!(&back.hash_text(), b"sqc8b49rny0");
        let edge = Place::new(180.0, LATITUDE_MAX).unwrap();
        assert_eq!(edge.score(), ((1u64 << 52) | (1 << 53)) as f64);
        assert!(Place::new(180.1, 0.0).is_none() && Place::new(0.0, -86.0).is_none());
    }

    #[test]
    fn any_score_is_some_place() {
        for score in [-1.0, 1e17, 1e300, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1.5] {
            let place = Place::of_score(score);
            assert!(Place::new(place.longitude, place.latitude).is_some());
        }
        assert_eq!(integer_bits(-1.0), u64::MAX);
        assert_eq!(integer_bits(9_223_372_036_854_775_808.0), 1 << 63);
        assert_eq!(integer_bits(f64::INFINITY), 0);
    }

    #[test]
    fn distances_are_the_known_ones() {
        let (a, b) = (Place::of_score(PALERMO.score()), Place::of_score(CATANIA.score()));
        assert!((a.distance(b) - 166_274.151_6).abs() < 0.0001);
        assert_eq!(a.distance(a), 0.0);
    }

    #[test]
    fn cells_have_neighbours_round_the_map() {
        let cell = Cell { bits: 0, step: 3 };
        assert_eq!(cell.moved(1, 0).bits, 0b10);
        assert_eq!(cell.moved(0, 1).bits, 0b01);
        assert_eq!(cell.moved(-1, 0).bits, 0b101010);
        assert_eq!(cell.moved(0, -1).bits, 0b010101);
        assert_eq!(cell.moved(-1, -1).moved(1, 1), cell);
        for bits in 0..64 {
            let cell = Cell { bits, step: 3 };
            assert_eq!(cell.moved(1, -1).moved(-1, 1), cell);
        }
    }

    /// Whatever is within the shape is in one of the ranges.
    #[test]
    fn ranges_cover_the_shape() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..if cfg!(miri) { 20 } else { 20_000 } {
            let center = Place {
                longitude: random.f64() * 358.0 - 179.0,
                latitude: random.f64() * 130.0 - 65.0,
            };
            let reach = 10f64.powf(random.f64() * 5.0);
            let shape = match random.bool() {
                true => Shape::Circle { radius: reach },
                false => Shape::Rectangle { width: reach, height: reach * 2.0 * random.f64() },
            };
            let search = Search { center, shape };
            let off = reach / 111_000.0 * 1.5;
            let place = Place {
                longitude: center.longitude + (random.f64() - 0.5) * off,
                latitude: center.latitude + (random.f64() - 0.5) * off,
            };
            if Place::new(place.longitude, place.latitude).is_none()
                || search.distance_within(place).is_none()
            {
                continue;
            }
            let (score, ranges) = (place.score(), search.ranges());
            assert!(
                ranges.iter().any(|range| range.0 <= score && score < range.1),
                "{place:?} is not found by {search:?}"
            );
        }
    }
}
