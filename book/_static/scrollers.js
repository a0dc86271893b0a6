// The theme gives a box that scrolls a place in the tab order, so that the keyboard can scroll it. It looks when the window
// changes its size. A box in a closed solution has no size yet: let it look again when a reader opens one.
const lookAgain = () => window.dispatchEvent(new Event("resize"));
document.addEventListener("toggle", lookAgain, true);
document.addEventListener("click", event => { if (event.target.closest(".toggle, .toggle-button")) lookAgain(); });
