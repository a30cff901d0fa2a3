//! The figures of the README are those of the pages that they come from.

use super::links::{read, root};

#[test]
fn the_readme_has_the_figures_of_the_last_measurements() {
    let readme = read(&root().join("README.md"));
    let performance = read(&root().join("docs/performance.md")).replace(',', "");
    let (_, measured) = readme.split_once("## Measured\n").expect("the figures");
    let (measured, _) = measured.split_once("\n## ").expect("a next section");
    let figures = ["6,455", "5,065", "8 ms", "38", "48", "15.8", "2.6"];
    for figure in figures {
        assert!(measured.contains(figure), "the README has no {figure}");
        let wanted = figure.replace(',', "").replace("8 ms", "8.0 ms");
        assert!(performance.contains(&wanted), "docs/performance.md has no {wanted}");
    }
}

#[test]
fn the_readme_has_the_figures_of_the_fault_scenarios() {
    let readme = read(&root().join("README.md"));
    let faults = read(&root().join("docs/faults.md"));
    let rows = faults.lines().filter(|row| row.starts_with("| `")).map(|row| row.split('|').collect::<Vec<_>>());
    let (mut scenarios, mut tokens, mut lost) = (0, 0, 0);
    for row in rows {
        // | scenario | what is tried | run | requests | tokens | lost | …
        if let [_, _, _, _, _, issued, missing, ..] = row.as_slice()
            && let (Ok(issued), Ok(missing)) = (issued.trim().parse::<u64>(), missing.trim().parse::<u64>())
        {
            scenarios += 1;
            tokens += issued;
            lost += missing;
        }
    }
    assert_eq!(lost, 0);
    let tokens = format!("{},{:03}", tokens / 1000, tokens % 1000);
    let expected = [format!("**{scenarios} kinds of fault**"), format!("{tokens} tokens that clients received")];
    for expected in expected {
        assert!(readme.contains(&expected), "the README does not say: {expected}");
    }
}
