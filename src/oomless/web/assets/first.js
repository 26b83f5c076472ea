// The language that the browser prefers; the address keeps its question.

const wished = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
location.replace(`${wished}/${location.hash}`);
