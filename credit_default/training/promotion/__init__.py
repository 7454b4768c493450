"The gate that a challenger passes before it is champion, and the loans that it is judged on."
