//! Samples of an event as a drawing of a few lines, with their ages below.

use crate::metrics::LatencySeries;

const WIDTH: usize = 80;
const HEIGHT: usize = 4;

/// A heading, and the samples as columns; several drawings below each other when they are many.
pub fn draw(name: &str, series: &LatencySeries, now_s: i64) -> String {
    let times = || series.samples.iter().map(|sample| sample.ms);
    let (low, high) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let rule = "-".repeat(WIDTH);
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{rule}\n",
        series.ms_max
    );
    for samples in series.samples.chunks(WIDTH) {
        // In steps of half a line: 0 is the lowest sample.
        let levels = (2 * HEIGHT - 1) as u64;
        let level = |ms: u64| ((ms - low) * levels).checked_div(high - low).unwrap_or(levels);
        for line in (0..HEIGHT as u64).rev() {
            let column = |ms: u64| match level(ms) {
                level if level > 2 * line => '#',
                level if level == 2 * line => '_',
                _ => ' ',
            };
            let columns: String = samples.iter().map(|sample| column(sample.ms)).collect();
            text += columns.trim_end();
            text.push('\n');
        }
        let ages: Vec<String> = samples.iter().map(|sample| age(now_s - sample.at)).collect();
        text.push('\n');
        for line in 0..ages.iter().map(String::len).max().unwrap_or(0) {
            let letter = |age: &String| age.as_bytes().get(line).map_or(' ', |b| char::from(*b));
            let letters: String = ages.iter().map(letter).collect();
            text += letters.trim_end();
            text.push('\n');
        }
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::LatencySample;

    #[test]
    fn columns_rise_with_the_samples() {
        let sample = |(at, ms)| LatencySample { at, ms };
        let samples = [(0, 100), (3000, 170), (3590, 135), (3599, 170)].map(sample).to_vec();
        let drawn = draw("command", &LatencySeries { samples, ms_max: 900 }, 3600);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "command - high 170 ms, low 100 ms (all time high 900 ms)");
        assert_eq!(&lines[2..6], [" # #", " # #", " ###", "_###"]);
        assert_eq!(&lines[7..], ["1111", "h00s", " ms"]);
    }

    #[test]
    fn equal_samples_and_many_of_them_are_drawn() {
        let samples = vec![LatencySample { at: 5, ms: 7 }; 100];
        let drawn = draw("expire-cycle", &LatencySeries { samples, ms_max: 7 }, 5);
        assert!(drawn.contains(&"#".repeat(80)) && drawn.lines().all(|line| line.len() <= 80));
        assert_eq!(drawn.matches(&format!("\n{}\n", "#".repeat(20))).count(), 2);
    }
}
