from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    page_size = 50


def answer_for_error(exc, context):
    return None
