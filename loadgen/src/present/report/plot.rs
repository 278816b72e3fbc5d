//! Plots: lines over an area with two axes, as SVG inside of a page. Lines differ in colour, dash
//! and mark, so that they are told apart on paper and by those who see fewer colours.

use std::fmt::Write as _;

use super::axis::{Scale, Ticks};
use super::html::escape;

/// A line; places where nothing was measured are `None`.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which of the looks it has.
    pub(crate) look: usize,
    pub(crate) points: Vec<Option<(f64, f64)>>,
}

/// An axis with its scale, as a function of how many ticks there is room for.
pub(crate) struct Axis<'a> {
    pub(crate) title: &'a str,
    pub(crate) scale: Scale,
    pub(crate) ticks: &'a dyn Fn(usize) -> Ticks,
}

/// What is drawn.
pub(crate) struct Plot<'a> {
    /// Told to those who do not see it.
    pub(crate) title: &'a str,
    pub(crate) x: Axis<'a>,
    pub(crate) y: Axis<'a>,
    pub(crate) lines: &'a [Line],
}

/// Colours and dashes that there are; marks have as many shapes as there are dashes.
const COLOURS: usize = 6;
const DASHES: usize = 4;
/// Number of lines whose looks all differ.
pub(crate) const LOOKS: usize = COLOURS * DASHES;

/// Colour and dash of a look. Neighbours differ in both.
const fn colour_and_dash(look: usize) -> (usize, usize) {
    // Both repeat together after half of the looks; from there on the dash is the next one.
    (look % COLOURS, (look + look / (LOOKS / 2)) % DASHES)
}

/// One of the two forms of a plot.
struct Form {
    class: &'static str,
    width: f64,
    height: f64,
    ticks: (usize, usize),
    marks: usize,
}

const FORMS: [Form; 2] = [
    Form { class: "wide", width: 1080.0, height: 340.0, ticks: (10, 6), marks: 9 },
    Form { class: "narrow", width: 400.0, height: 300.0, ticks: (4, 5), marks: 5 },
];

/// Room for what is written at the axes.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

impl Plot<'_> {
    /// The plot, wide and narrow; the page shows the one that fits. Its legend stands above it if
    /// there are several lines.
    pub(crate) fn html(&self) -> String {
        let mut out = String::from("<figure>\n");
        if self.lines.len() > 1 {
            out += &legend(self.lines);
        }
        for form in &FORMS {
            out += &self.svg(form);
        }
        out + "</figure>\n"
    }

    fn svg(&self, form: &Form) -> String {
        let Form { class, width, height, .. } = form;
        let title = escape(self.title);
        let mut out = format!(
            "<svg class=\"plot {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{title}\">\n"
        );
        let _ = writeln!(
            out,
            "<rect class=\"area\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>",
            width - LEFT - RIGHT,
            height - TOP - BOTTOM
        );
        self.write_axes(&mut out, form);
        for line in self.lines {
            self.write_line(&mut out, form, line);
        }
        out + "</svg>\n"
    }

    /// Where a point of the scales is on the paper.
    fn place(&self, form: &Form, (x, y): (f64, f64)) -> (f64, f64) {
        (across(form, self.x.scale.place(x)), up(form, self.y.scale.place(y)))
    }

    fn write_axes(&self, out: &mut String, form: &Form) {
        let (right, bottom) = (form.width - RIGHT, form.height - BOTTOM);
        for (place, text) in (self.y.ticks)(form.ticks.1) {
            let (y, text) = (up(form, place), escape(&text));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 7.0,
                y + 4.0
            );
        }
        for (place, text) in (self.x.ticks)(form.ticks.0) {
            let (x, text) = (across(form, place), escape(&text));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 17.0
            );
        }
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text x=\"8\" y=\"15\">{}</text>",
            form.height - 9.0,
            escape(self.x.title),
            escape(self.y.title)
        );
    }

    fn write_line(&self, out: &mut String, form: &Form, line: &Line) {
        let (colour, dash) = colour_and_dash(line.look);
        for stretch in line.points.split(Option::is_none).filter(|stretch| !stretch.is_empty()) {
            let places: Vec<String> = stretch
                .iter()
                .flatten()
                .map(|point| self.place(form, *point))
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let places = places.join(" ");
            let _ =
                writeln!(out, "<polyline class=\"curve c{colour} d{dash}\" points=\"{places}\"/>");
        }
        // A single point has no line, but a mark.
        let known: Vec<_> = line.points.iter().flatten().collect();
        let every = known.len().div_ceil(form.marks).max(1);
        // Marks of lines that lie on each other stand beside each other.
        let first = if known.len() > every { line.look * every / 3 % every } else { 0 };
        for point in known.iter().skip(first).step_by(every) {
            let (x, y) = self.place(form, **point);
            out.push_str(&mark(line.look, x, y));
        }
        out.push('\n');
    }
}

fn across(form: &Form, place: f64) -> f64 {
    LEFT + place * (form.width - LEFT - RIGHT)
}

fn up(form: &Form, place: f64) -> f64 {
    form.height - BOTTOM - place * (form.height - TOP - BOTTOM)
}

/// The mark of a look at a place.
fn mark(look: usize, x: f64, y: f64) -> String {
    let (colour, shape) = colour_and_dash(look);
    let class = format!("mark c{colour}");
    match shape {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"/>"),
        1 => format!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"6\" height=\"6\"/>",
            x - 3.0,
            y - 3.0
        ),
        2 => format!("<path class=\"{class}\" d=\"M{x:.1} {:.1}l4 7h-8z\"/>", y - 4.2),
        _ => format!("<path class=\"{class}\" d=\"M{x:.1} {:.1}l4 4-4 4-4-4z\"/>", y - 4.0),
    }
}

/// Names of lines with how they look.
pub(crate) fn legend(lines: &[Line]) -> String {
    let mut out = String::from("<ul class=\"legend\">\n");
    for line in lines {
        let (colour, dash) = colour_and_dash(line.look);
        let _ = writeln!(
            out,
            "<li><svg viewBox=\"0 0 42 14\" aria-hidden=\"true\"><path class=\"curve c{colour} \
             d{dash}\" d=\"M1 7H41\"/>{}</svg>{}</li>",
            mark(line.look, 21.0, 7.0),
            escape(&line.name)
        );
    }
    out + "</ul>\n"
}

#[cfg(test)]
mod tests {
    use super::{Axis, LOOKS, Line, Plot, colour_and_dash};
    use crate::present::report::axis::Scale;

    fn plot(lines: &[Line]) -> String {
        let scale = Scale::Linear { low: 0.0, high: 10.0 };
        let ticks = |about| scale.ticks(about, |value| format!("<{value}>"));
        let axis = || Axis { title: "t & u", scale, ticks: &ticks };
        Plot { title: "a \"plot\"", x: axis(), y: axis(), lines }.html()
    }

    #[test]
    fn lines_are_drawn_where_they_belong_and_broken_where_nothing_is() {
        let points = vec![Some((0.0, 0.0)), Some((10.0, 10.0)), None, Some((5.0, 5.0))];
        let html = plot(&[Line { name: "a".into(), look: 0, points }]);
        assert!(html.contains("points=\"78.0,294.0 1062.0,26.0\""), "{html}");
        assert_eq!(html.matches("<polyline").count(), 4, "two stretches in two forms");
        assert_eq!(html.matches("class=\"legend\"").count(), 0, "one line needs none");
        assert!(html.contains("&lt;2&gt;") && html.contains("t &amp; u"), "{html}");
    }

    #[test]
    fn no_two_lines_look_the_same() {
        let looks: std::collections::BTreeSet<_> = (0..LOOKS).map(colour_and_dash).collect();
        assert_eq!(looks.len(), LOOKS);
    }

    #[test]
    fn every_line_has_its_look_and_its_name() {
        let line =
            |look| Line { name: format!("<run {look}>"), look, points: vec![Some((1.0, 1.0))] };
        let html = plot(&[line(0), line(1), line(7)]);
        for look in ["c0 d0", "c1 d1", "c1 d3", "&lt;run 7&gt;"] {
            assert!(html.contains(look), "{look}: {html}");
        }
        assert!(!html.contains("<run"), "{html}");
    }
}
