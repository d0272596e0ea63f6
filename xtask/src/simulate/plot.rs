//! A chart of lines as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// Hours between two scrubs: an hour to a year.
const HOURS: std::ops::RangeInclusive<f64> = 1.0..=8_766.0;
const STEPS: u32 = 60;
const COPIES: std::ops::RangeInclusive<usize> = 1..=5;
const NINES: f64 = 20.0;
const TICKS: [(f64, &str); 6] = [
    (1.0, "1 hour"),
    (24.0, "1 day"),
    (168.0, "1 week"),
    (720.0, "1 month"),
    (2_160.0, "3 months"),
    (8_766.0, "1 year"),
];

/// Draws nines by the time between two scrubs, a line for each number of copies.
pub(super) fn draw(nines: impl Fn(usize, f64) -> f64) -> String {
    let (begin, end) = (HOURS.start().ln(), HOURS.end().ln());
    let x = |hours: f64| LEFT + (hours.ln() - begin) / (end - begin) * (WIDTH - LEFT - RIGHT);
    let y = |nines: f64| HEIGHT - BOTTOM - nines / NINES * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">Nines of a year's durability, by the time \
         between two scrubs; copies at as many sites</text>\n"
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a text does not fail.
        let _ = svg.write_fmt(text);
        svg.push('\n');
    };
    for nines in (0..=20).step_by(4) {
        let (at, right) = (y(f64::from(nines)), WIDTH - RIGHT);
        line(format_args!(
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ccc\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{nines}</text>",
            LEFT - 8.0,
            at + 4.0
        ));
    }
    for (hours, name) in TICKS {
        line(format_args!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            x(hours),
            HEIGHT - BOTTOM + 20.0
        ));
    }
    for copies in COPIES {
        let points: Vec<String> = (0..=STEPS)
            .map(|step| {
                let hours = (begin + (end - begin) * f64::from(step) / f64::from(STEPS)).exp();
                format!("{:.1},{:.1}", x(hours), y(nines(copies, hours).clamp(0.0, NINES)))
            })
            .collect();
        let last = y(nines(copies, *HOURS.end()).clamp(0.0, NINES));
        let plural = if copies == 1 { "y" } else { "ies" };
        line(format_args!(
            "<polyline fill=\"none\" stroke=\"#1b4f72\" stroke-width=\"2\" points=\"{}\"/>\
             <text x=\"{}\" y=\"{:.1}\">{copies} cop{plural}</text>",
            points.join(" "),
            WIDTH - RIGHT + 8.0,
            last + 4.0
        ));
    }
    line(format_args!("</svg>"));
    svg
}
