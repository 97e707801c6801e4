// Filters the table of rules by what is typed and by the two menus. Without JavaScript the whole table shows.
document$.subscribe(() => {
  const form = document.querySelector(".dlm-filter");
  if (!form) return;
  const rows = [...document.querySelectorAll(".dlm-rules tbody tr")];
  const count = form.querySelector("output");
  const [text, group, seen] = ["text", "group", "seen"].map((name) => form.querySelector(`[name=${name}]`));
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const code = row.cells[0].textContent.trim();
      const column = { checker: 3, guard: 4, assertions: 5 }[seen.value];
      const keep =
        words.every((word) => content.includes(word)) &&
        code.startsWith(group.value) &&
        (!column || row.cells[column].textContent.trim() !== "");
      row.hidden = !keep;
      shown += keep;
    }
    count.textContent = `${shown} of ${rows.length} rules`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
});
