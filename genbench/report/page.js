// Sorts the rows of each group of a table; groups keep their places, and empty cells come last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, index) => {
    const cell = row.cells[index];
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (text === "") return null;
    const value = Number(text);
    return Number.isNaN(value) ? text.toLowerCase() : value;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b));
  };
  heads.forEach((head, index) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.first ?? "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const next = now === first ? other : first;
      heads.forEach((each) => each.querySelector("button") && each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        rows.sort((a, b) => compare(key(a, index), key(b, index), sign));
        body.append(...rows);
      }
    });
  });
}

// Shows one family alone: the rows, pictures and curves of the others are hidden, and groups without any.
const family = document.getElementById("family");
if (family) {
  family.parentElement.hidden = false;
  const restrict = () => {
    for (const item of document.querySelectorAll("[data-family]")) {
      item.hidden = family.value !== "" && item.dataset.family !== family.value;
    }
    for (const body of document.querySelectorAll("table.sortable tbody")) {
      body.hidden = [...body.rows].every((row) => row.hidden || row.classList.contains("group"));
    }
  };
  family.addEventListener("change", restrict);
  restrict(); // what the browser has kept of an earlier visit
}

// An address inside of what is folded unfolds it, and one that is hidden shows everything again.
const arrive = () => {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  if (place.closest("[hidden]") && family) {
    family.value = "";
    family.dispatchEvent(new Event("change"));
  }
  for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  place.scrollIntoView();
};
addEventListener("hashchange", arrive);
arrive();
