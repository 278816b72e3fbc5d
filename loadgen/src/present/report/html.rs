//! Pages without a network: everything that is shown is in the file, and everything that was not
//! written here is escaped.

/// Text as it stands in an element or an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No text of ours; in a page they could hide or turn around what follows.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The hash of the style, as browsers take it: of everything between its tags.
const STYLE_HASH: &str = "sha256-9VTd3bGR+mc+wKHgr6i1WMCN6i2n2rPh68YksUvtJeI=";

/// A whole page; `body` is markup.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    let style = include_str!("style.css");
    // Nothing can be fetched or run, and no other style applies, whatever the texts in the page are.
    let policy = format!("default-src 'none'; style-src '{STYLE_HASH}'");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {body}</body>\n</html>\n"
    )
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Text(String),
    /// Aligned to the right.
    Number(String),
    /// Text of these classes, of which the first one is its column's.
    Class(&'static str, String),
}

impl Cell {
    fn html(&self) -> String {
        match self {
            Self::Text(text) => format!("<td class=\"wide\">{}</td>", escape(text)),
            Self::Number(text) => format!("<td class=\"number\">{}</td>", escape(text)),
            Self::Class(class, text) => format!("<td class=\"{class}\">{}</td>", escape(text)),
        }
    }
}

/// A table whose first column names the rows; a row without cells names those that follow. Titles
/// stand where the cells of their columns do.
pub(crate) fn table(class: &str, titles: &[String], rows: &[(String, Vec<Cell>)]) -> String {
    let first = rows.iter().map(|(_, cells)| cells).find(|cells| !cells.is_empty());
    let column_class = |column: usize| match first?.get(column.checked_sub(1)?)? {
        Cell::Text(_) => None,
        Cell::Number(_) => Some("number"),
        Cell::Class(class, _) => class.split(' ').next(),
    };
    let mut out = format!("<div class=\"scroll\"><table class=\"{class}\">\n<thead><tr>");
    for (column, title) in titles.iter().enumerate() {
        let class =
            column_class(column).map_or_else(String::new, |class| format!(" class=\"{class}\""));
        out += &format!("<th scope=\"col\"{class}>{}</th>", escape(title));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (name, cells) in rows {
        let scope = if cells.is_empty() {
            format!("rowgroup\" colspan=\"{}", titles.len())
        } else {
            "row".to_owned()
        };
        out += &format!("<tr><th scope=\"{scope}\">{}</th>", escape(name));
        out.extend(cells.iter().map(Cell::html));
        out += "</tr>\n";
    }
    out + "</tbody></table></div>\n"
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::{Cell, escape, page, table};

    #[test]
    fn the_policy_allows_the_style_and_nothing_else() {
        let page = page("a title", "");
        let (_, rest) = page.split_once("<style>").expect("a style");
        let (style, _) = rest.split_once("</style>").expect("its end");
        let hash = BASE64_STANDARD.encode(Sha256::digest(style));
        let policy = format!("content=\"default-src 'none'; style-src 'sha256-{hash}'\"");
        assert!(page.contains(&policy), "the style's hash is {hash}");
    }

    #[test]
    fn nothing_of_a_text_is_markup() {
        let hostile = "</style><script>alert('x')</script>\"&\u{202e}\u{0}";
        assert_eq!(
            escape(hostile),
            "&lt;/style&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}\u{fffd}"
        );
        let cells = vec![Cell::Text(hostile.into()), Cell::Number(hostile.into())];
        let body = table("x", &[hostile.to_owned()], &[(hostile.to_owned(), cells)]);
        let page = page(hostile, &body);
        assert!(!page.contains("<script") && page.matches("</style>").count() == 1, "{page}");
        assert!(!page.contains('\u{202e}'));
    }
}
