// The page of diagnostics follows its own topic; the parts of it fetch themselves again.

import { hub } from "./hub.js";

hub.subscribe("diagnostics");
