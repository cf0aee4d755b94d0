const status = document.querySelector("[role=status]");
for (const button of document.querySelectorAll(".snippet button")) {
  const text = button.previousElementSibling, label = button.firstChild;
  // Without a secure context there is no clipboard, and no button.
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      getSelection().selectAllChildren(text);
      said = "Selected";
    }
    label.data = status.textContent = said;
    setTimeout(() => { label.data = "Copy"; status.textContent = ""; }, 2500);
  });
}
